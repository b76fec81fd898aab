//! What the fuzz targets reach that is not public: values that this program did not write. The feature is off in
//! what `cargo build` makes.

use rusqlite::params;
use zeroize::Zeroizing;

use super::{LocalStore, StoreError, Tx};

/// Puts a value under a name.
pub fn set_meta(tx: &Tx<'_>, name: &str, value: &[u8]) -> Result<(), StoreError> {
    tx.set_meta(name, value)
}

/// The value under a name.
pub fn meta(tx: &Tx<'_>, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
    tx.meta(name)
}

/// Every column there is: table and name.
pub fn columns(store: &LocalStore) -> Result<Vec<(String, String)>, StoreError> {
    let sql = "SELECT m.name, c.name FROM sqlite_schema m, pragma_table_info(m.name) c
               WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name <> 'meta' ORDER BY 1, 2";
    let mut statement = store.connection.prepare(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Overwrites a column of every row with a value of the type it has; `false` if the database does not let that happen.
pub fn overwrite(tx: &Tx<'_>, table: &str, column: &str, value: &[u8]) -> bool {
    let Ok(declared) = tx.transaction.query_row(
        "SELECT type FROM pragma_table_info(?1) WHERE name = ?2",
        params![table, column],
        |row| row.get::<_, String>(0),
    ) else {
        return false;
    };
    let sql = format!("UPDATE {table} SET {column} = ?1");
    let changed = match declared.as_str() {
        "TEXT" => tx.transaction.execute(&sql, params![String::from_utf8_lossy(value)]),
        "INTEGER" => {
            let bytes = value.iter().take(8).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
            tx.transaction.execute(&sql, params![bytes.cast_signed()])
        }
        _ => tx.transaction.execute(&sql, params![value]),
    };
    changed.is_ok_and(|rows| rows > 0)
}
