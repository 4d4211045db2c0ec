"""Reports: their content, signature, seal, paper form and exports."""
