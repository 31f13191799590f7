"""x"""

from odd_rows.table import Table

TABLE = Table()
