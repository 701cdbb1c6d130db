//! Reading how often logins failed, and where domains lead.

use rusqlite::{Connection, OptionalExtension};

use serde_json::{Value, json};

use super::model::{Failures, Keys, Name, Wait, record_name, record_value, wait_ms};
use crate::kernel::{Fault, Millis, OrgId};

/// The failures counted under a key.
pub(super) fn failures(tx: &Connection, key: &str) -> Result<Failures, Fault> {
    let row = tx.prepare_cached(FAILURES)?.query_row([key], |row| {
        let trusted = row.get::<_, Option<i64>>(2)?.map(Millis);
        Ok(Failures { count: row.get(0)?, last: Millis(row.get(1)?), trusted })
    });
    Ok(row.optional()?.unwrap_or_default())
}

/// How long a login must wait.
pub(super) fn wait(tx: &Connection, keys: &Keys, at: Millis) -> Result<Wait, Fault> {
    let [pair, source, account] = [&keys.pair, &keys.source, &keys.account].map(|key| failures(tx, key));
    let (pair, source, account) = (pair?, source?, account?);
    if keys.names.is_empty() {
        return Ok(Wait { told_ms: wait_ms(pair, source, account, at), untold_ms: 0 });
    }
    let mut told_ms = 0;
    for Name { pair: named, account } in &keys.names {
        // A source is known to an account, whatever name it said.
        let named = Failures { trusted: pair.trusted, ..failures(tx, named)? };
        told_ms = wait_ms(named, source, failures(tx, account)?, at).max(told_ms);
    }
    Ok(Wait { told_ms, untold_ms: wait_ms(pair, Failures::default(), account, at) })
}

/// The organization to which addresses of a domain lead. Asked of the system file.
pub(super) fn organization_of_domain(tx: &Connection, domain: &str) -> Result<Option<OrgId>, Fault> {
    let id: Option<String> = tx.prepare_cached(ROUTE)?.query_row([domain], |row| row.get(0)).optional()?;
    Ok(id.and_then(|id| id.parse().ok()))
}

/// How many domains an organization has claimed.
pub(super) fn domains_count(tx: &Connection) -> Result<i64, Fault> {
    Ok(tx.prepare_cached(COUNT)?.query_row([], |row| row.get(0))?)
}

/// The domains that an organization has claimed, as they are shown.
pub(super) fn domains(tx: &Connection) -> Result<Vec<Value>, Fault> {
    let mut statement = tx.prepare_cached(DOMAINS)?;
    let rows = statement.query_map([], |row| {
        let (domain, challenge): (String, String) = (row.get(0)?, row.get(1)?);
        let proven = row.get::<_, Option<i64>>(3)?.map(|at| Millis(at).to_string());
        Ok(json!({
            "domain": domain,
            "record": { "name": record_name(&domain), "type": "TXT", "value": record_value(&challenge) },
            "proven_by": row.get::<_, Option<String>>(2)?,
            "proven_at": proven,
        }))
    })?;
    Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?)
}

/// The challenge of a claimed domain.
pub(super) fn challenge(tx: &Connection, domain: &str) -> Result<Option<String>, Fault> {
    Ok(tx.prepare_cached(CHALLENGE)?.query_row([domain], |row| row.get(0)).optional()?)
}

const ROUTE: &str = "SELECT organization FROM login_routes WHERE domain = ?1";
const COUNT: &str = "SELECT count(*) FROM login_domains";
const DOMAINS: &str = "SELECT domain, challenge, method, proven_ms FROM login_domains ORDER BY domain";
const CHALLENGE: &str = "SELECT challenge FROM login_domains WHERE domain = ?1";
const FAILURES: &str = "SELECT failures, last_ms, trusted_ms FROM login_failures WHERE key = ?1";
