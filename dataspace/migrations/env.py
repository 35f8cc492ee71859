"""Alembic's entry: runs in the caller's engine (``dataspace.migrate``)."""

from alembic import context

from dataspace.migrate import metadata

with context.config.attributes["engine"].connect() as connection:
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=False)
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
