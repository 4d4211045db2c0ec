#!/bin/sh
# A database user for web, workers and listener who owns no table, and so can neither drop the triggers that keep audit
# and signed reports unchanged nor empty a table. `migrate` and `restore` go on as the owner.
# PostgreSQL runs this when it makes the database. It may be run again, in an older installation once by hand:
#   docker compose exec database sh /docker-entrypoint-initdb.d/database.sh
set -eu
psql --set ON_ERROR_STOP=1 --set password="$PRODUCT_PASSWORD" --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
SELECT 'CREATE ROLE leukoweb_product' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'leukoweb_product') \gexec
ALTER ROLE leukoweb_product LOGIN PASSWORD :'password' NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION;
GRANT USAGE ON SCHEMA public TO leukoweb_product;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO leukoweb_product;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO leukoweb_product;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO leukoweb_product;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO leukoweb_product;
SQL
