// A report's page: prints it and copies its table; it computes no figure.
import { copyFrom } from "./copy.js";

copyFrom("clipboard");
document.querySelector("[data-print]")?.addEventListener("click", () => window.print());
