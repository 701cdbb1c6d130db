//! Asking a domain's name server for the challenge.

use std::{net::SocketAddr, time::Duration};

use hickory_resolver::{
    TokioResolver,
    config::{NameServerConfig, ResolverConfig, ResolverOpts},
    net::runtime::TokioRuntimeProvider,
    proto::rr::RData,
};

use super::model::{record_name, record_value};
use crate::web::Problem;

const WITHIN: Duration = Duration::from_secs(5);

/// Which name server is asked: the system's own, or one that the operator names.
pub(super) async fn says(server: Option<SocketAddr>, domain: &str, challenge: &str) -> Result<bool, Problem> {
    let resolver = resolver(server).map_err(|why| unreachable(&why))?;
    let asked = resolver.txt_lookup(format!("{}.", record_name(domain)));
    let found = match tokio::time::timeout(WITHIN, asked).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) if error.is_no_records_found() => return Ok(false),
        Ok(Err(error)) => return Err(unreachable(&error.to_string())),
        Err(_) => return Err(unreachable("no answer within 5 s")),
    };
    let wanted = record_value(challenge);
    Ok(found.answers().iter().any(|record| match &record.data {
        RData::TXT(text) => text.txt_data.concat() == wanted.as_bytes(),
        _ => false,
    }))
}

fn resolver(server: Option<SocketAddr>) -> Result<TokioResolver, String> {
    let builder = match server {
        None => TokioResolver::builder_tokio().map_err(|error| error.to_string())?,
        Some(address) => {
            let mut named = NameServerConfig::udp_and_tcp(address.ip());
            for connection in &mut named.connections {
                connection.port = address.port();
            }
            let config = ResolverConfig::from_parts(None, Vec::new(), vec![named]);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
    };
    let mut options = ResolverOpts::default();
    options.timeout = Duration::from_secs(2);
    options.attempts = 2;
    options.cache_size = 0;
    builder.with_options(options).build().map_err(|error| error.to_string())
}

fn unreachable(why: &str) -> Problem {
    let detail = format!(
        "no name server answered ({why}); try again, set dns_server, or have the operator attest the domain"
    );
    Problem::new(503, "dns_unreachable", "The domain's name server cannot be asked", detail).retry_after(10)
}
