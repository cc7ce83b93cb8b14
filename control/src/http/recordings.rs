//! `/v1/recordings`: for the dispute desk. What is archived is read from disk, the rest from the store.

use std::collections::HashSet;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path as FilePath, PathBuf};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use recorder::archive;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::Api;
use super::body::{json, json_text};
use super::page;
use super::problem::Problem;
use super::stream;
use crate::moment::Moment;
use crate::name::TripId;
use crate::store::RecordingEntry;

/// Where a recording stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Stage {
    /// The call is in progress.
    Recording,
    /// The call is over, the archive not finished.
    Encoding,
    /// The archive is finished.
    Archived,
}

#[derive(Serialize)]
struct Listed {
    id: Uuid,
    trip: Option<TripId>,
    started_at: Moment,
    state: Stage,
}

/// What `GET /v1/recordings` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    trip: TripId,
    after: Option<Uuid>,
    limit: Option<usize>,
}

/// `GET /v1/recordings?trip=…&after=…&limit=…`: a trip's recordings, oldest first; `next` is the `after` of the next
/// page.
pub(super) async fn list(
    State(api): State<Api>,
    query: Result<Query<List>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(List { trip, after, limit }) = query?;
    let limit = page::limit(limit)?;
    let mut entries = api.masking.store().recordings(trip).await?;
    // The ids are in the order of the offers.
    entries.retain(|entry| Some(entry.id) > after);
    entries.sort_by_key(|entry| entry.id);
    let next = page::cut(&mut entries, limit, |entry| entry.id);
    let live: HashSet<Uuid> = api.live.list().iter().map(|call| call.id).collect();
    let state = api.state.clone();
    let listed: Vec<Listed> =
        blocking(move || entries.into_iter().map(|entry| listed(&state, &live, entry)).collect()).await?;
    Ok(json(StatusCode::OK, &json!({ "recordings": listed, "next": next })))
}

fn listed(folder: &FilePath, live: &HashSet<Uuid>, entry: RecordingEntry) -> Listed {
    let archived = file(folder, entry.id, archive::MANIFEST).is_some_and(|path| path.exists());
    let state = match (archived, live.contains(&entry.id)) {
        (true, _) => Stage::Archived,
        (false, true) => Stage::Recording,
        (false, false) => Stage::Encoding,
    };
    Listed { id: entry.id, trip: entry.trip, started_at: entry.started_at, state }
}

/// `GET /v1/recordings/{id}`: the manifest, or where the recording stands when there is none yet.
pub(super) async fn read(State(api): State<Api>, Path(id): Path<String>) -> Result<Response, Problem> {
    let id = id.parse().map_err(|_| unknown())?;
    if let Some(manifest) = content(&api, id, archive::MANIFEST).await? {
        return Ok(json_text(StatusCode::OK, manifest));
    }
    Ok(json(StatusCode::OK, &unfinished(&api, id).await?))
}

/// `GET /v1/recordings/{id}/audio`: the recording as Ogg Opus.
pub(super) async fn audio(State(api): State<Api>, Path(id): Path<String>) -> Result<Response, Problem> {
    let id = id.parse().map_err(|_| unknown())?;
    // The manifest is written last: audio without it is not finished.
    if opened(&api, id, archive::MANIFEST).await?.is_some()
        && let Some((audio, length)) = opened(&api, id, archive::AUDIO).await?
    {
        let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("audio/ogg"))];
        return Ok((StatusCode::OK, kind, stream::body(audio, length)).into_response());
    }
    let stage = match unfinished(&api, id).await?.state {
        Stage::Recording => "the call is still in progress",
        Stage::Encoding | Stage::Archived => "the archive is not finished; try again in a moment",
    };
    Err(Problem::new(StatusCode::CONFLICT, "not_archived", stage))
}

async fn unfinished(api: &Api, id: Uuid) -> Result<Listed, Problem> {
    let entry = api.masking.store().recording(id).await?.ok_or_else(unknown)?;
    let live: HashSet<Uuid> = api.live.list().iter().map(|call| call.id).collect();
    Ok(listed(&api.state, &live, entry))
}

/// What is in a file of an archive; none when it is not there.
async fn content(api: &Api, id: Uuid, name: &'static str) -> Result<Option<Vec<u8>>, Problem> {
    let Some((mut file, _)) = opened(api, id, name).await? else { return Ok(None) };
    let mut content = Vec::new();
    let read = blocking(move || file.read_to_end(&mut content).map(|_| content)).await?;
    read.map(Some).map_err(|error| unreadable(&error, id, name))
}

/// A file of an archive and its length in bytes; none when it is not there.
async fn opened(api: &Api, id: Uuid, name: &'static str) -> Result<Option<(File, u64)>, Problem> {
    let Some(path) = file(&api.state, id, name) else { return Ok(None) };
    let open = move || -> std::io::Result<_> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok((file, length))
    };
    match blocking(open).await? {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(&error, id, name)),
    }
}

fn unreadable(error: &std::io::Error, id: Uuid, name: &str) -> Problem {
    let detail = "the archive cannot be read; the reason is in control's log";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "archive_unreadable", detail)
        .because(&format!("recording {id}: {name} cannot be read: {error}"))
}

/// Where a file of an archive lies. None for an id that is no recording's.
fn file(state: &FilePath, id: Uuid, name: &str) -> Option<PathBuf> {
    Some(archive::folder(state, id)?.join(name))
}

/// Runs file work where it may wait.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    let failed = |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "reading was given up");
    tokio::task::spawn_blocking(work).await.map_err(failed)
}

fn unknown() -> Problem {
    Problem::not_found("there is no such recording")
}
