//! Whether a server and the stream are as the room needs them.

use super::super::engine::AwayReason;
use super::super::options::EngineOptions;
use super::api::{ApiError, STREAM_NOT_FOUND, StreamInfo};
use super::connect::{Link, is_refusal};
use super::stream::{check_server, check_stream};

/// Looks whether the server and the stream are as they have to be.
///
/// # Errors
///
/// What is wrong with them, and what to do.
pub async fn verify(link: &Link, options: &EngineOptions) -> Result<StreamInfo, AwayReason> {
    verify_server(link, options).map_err(AwayReason::Unusable)?;
    verify_stream(link, options).await
}

/// Looks whether the server is as it has to be.
///
/// # Errors
///
/// What is wrong with it, and what to do.
pub fn verify_server(link: &Link, options: &EngineOptions) -> Result<(), String> {
    check_server(&link.info.version, link.info.max_payload as u64, options)
        .map_err(|why| format!("{} cannot be used: {why}", link.server))
}

/// Looks whether the stream is as it has to be.
///
/// # Errors
///
/// What is wrong with it, and what to do.
pub async fn verify_stream(link: &Link, options: &EngineOptions) -> Result<StreamInfo, AwayReason> {
    let info = StreamInfo::get(&link.client, options.stream.as_str()).await;
    let info = info.map_err(|error| unusable_stream(link, options, &error))?;
    check_stream(&info, options).map_err(AwayReason::Unusable)?;
    Ok(info)
}

/// What an error of JetStream means, and what to do.
pub fn unusable_stream(link: &Link, options: &EngineOptions, error: &ApiError) -> AwayReason {
    let (stream, server) = (&options.stream, &link.server);
    match error {
        ApiError::Refused { err_code: STREAM_NOT_FOUND, .. } => AwayReason::Unusable(format!(
            "there is no stream {stream}; create it with 'wschat cluster init'"
        )),
        ApiError::NotEnabled => AwayReason::Unusable(format!(
            "{server} has no JetStream for this account; enable it in the configuration of the \
             servers"
        )),
        // A server does not answer what a client may not ask.
        _ => match link.last_error() {
            Some(why) if is_refusal(&why) => AwayReason::Unusable(format!(
                "{server} does not permit what a node needs: {why}; see wschat.toml(5)"
            )),
            Some(why) => AwayReason::Unreachable(format!("the stream {stream}: {error}: {why}")),
            None => AwayReason::Unreachable(format!("the stream {stream}: {error}")),
        },
    }
}
