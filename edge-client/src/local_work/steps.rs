//! The way to a round's model by the steps from the last one that was fetched, or from the
//! initial one, which is drawn.
//!
//! Nothing about the steps is believed but the result: its file must have the hash of the
//! model. Where it has not, the whole model is fetched.

use std::sync::Arc;

use bytes::Bytes;
use fedra_aggregation::CheckedUpdate;
use fedra_aggregation::codec::{Codec, UpdateShape};
use fedra_learning::{init_parameters, safetensors};
use fedra_protocol::{ModelRef, ModelStep, Sha256Hash, UpdateRange};

use super::{KeptFile, LocalWork, News};
use crate::outgoing::RoundJob;
use crate::platform;

impl LocalWork {
    /// Goes from the kept model, or from the initial one, to that of a round, if steps lead there
    /// that are shorter than the model. The error says why they could not be taken; then the
    /// kept model stays.
    pub(super) async fn take_steps(
        &self,
        job: &RoundJob,
        tell: &impl Fn(News),
    ) -> Result<(), String> {
        let (spec, range) = (&job.task.model, job.task.update_range);
        let leads_on = |from: &Sha256Hash| job.assignment.steps_from(from).is_some();
        let kept = self.model.borrow().clone().filter(|kept| leads_on(&kept.sha256));
        if kept.as_ref().is_some_and(|kept| kept.sha256 == job.assignment.model.sha256) {
            return Ok(());
        }
        let drawn = job.assignment.drawn.as_ref().filter(|drawn| leads_on(&drawn.sha256));
        let drawn = || {
            drawn.map(|drawn| KeptFile {
                sha256: drawn.sha256,
                head: drawn.head.clone(),
                values: Arc::new(init_parameters(spec, drawn.seed)),
            })
        };
        let Some(base) = kept.or_else(drawn) else { return Ok(()) };
        let steps = job.assignment.steps_from(&base.sha256).map_or(&[][..], |(steps, _)| steps);
        let mut values = Vec::clone(&base.values);
        for step in steps {
            let file = self.fetched(&step.file, tell).await?;
            add(step, range, file.into(), &mut values)
                .ok_or_else(|| format!("{} is not a step of this model", step.file.url))?;
        }
        let file = safetensors::with_head(spec, &base.head, &values);
        let (sha256, expected) = (Sha256Hash::of(&file), job.assignment.model.sha256);
        if sha256 != expected {
            return Err(format!("the steps give a model with the hash {sha256}, not {expected}"));
        }
        *self.model.borrow_mut() = Some(KeptFile { sha256, values: Arc::new(values), ..base });
        Ok(())
    }

    /// A file of the server, whose bytes are counted. The error has its address.
    pub(super) async fn fetched(
        &self,
        file: &ModelRef,
        tell: &impl Fn(News),
    ) -> Result<Vec<u8>, String> {
        let url = self.url.http(&file.url);
        let fetched = platform::fetch(&url, file.bytes, &self.trust).await;
        let fetched = fetched.map_err(|error| format!("{url}: {error}"))?;
        tell(News::Fetched(fetched.len() as u64));
        Ok(fetched)
    }
}

/// Adds a step to the parameters that it starts from; `None` if its file is not sound.
fn add(step: &ModelStep, range: UpdateRange, file: Bytes, parameters: &mut [f32]) -> Option<()> {
    let shape = UpdateShape::Values { len: parameters.len(), range };
    let codec = Codec::new(Some(step.codec), shape).ok()?;
    CheckedUpdate::parse(file, &codec).ok()?.add_to(parameters).ok()
}
