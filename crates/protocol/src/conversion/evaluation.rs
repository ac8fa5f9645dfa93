//! Evaluations of a model, in both directions.

use super::decode::{finite, invalid};
use crate::{self as fedra, DecodeError, wire};

impl From<fedra::Evaluation> for wire::Evaluation {
    fn from(evaluation: fedra::Evaluation) -> Self {
        let fedra::Evaluation { round, quality } = evaluation;
        Self {
            round,
            accuracy: quality.accuracy,
            loss: quality.loss,
            top_5_accuracy: quality.top_5_accuracy,
            macro_f1: quality.macro_f1,
            auc: quality.auc,
            perplexity: quality.perplexity,
            bits_per_token: quality.bits_per_token,
            mae: quality.mae,
            rmse: quality.rmse,
            r2: quality.r2,
        }
    }
}

impl TryFrom<wire::Evaluation> for fedra::Evaluation {
    type Error = DecodeError;

    fn try_from(wire: wire::Evaluation) -> Result<Self, DecodeError> {
        let quality = fedra::Quality {
            loss: finite("evaluation.loss", wire.loss)?,
            accuracy: share("evaluation.accuracy", wire.accuracy)?,
            top_5_accuracy: share("evaluation.top_5_accuracy", wire.top_5_accuracy)?,
            macro_f1: share("evaluation.macro_f1", wire.macro_f1)?,
            auc: share("evaluation.auc", wire.auc)?,
            perplexity: error("evaluation.perplexity", wire.perplexity)?,
            bits_per_token: error("evaluation.bits_per_token", wire.bits_per_token)?,
            mae: error("evaluation.mae", wire.mae)?,
            rmse: error("evaluation.rmse", wire.rmse)?,
            r2: wire.r2.map(|r2| at_most_1("evaluation.r2", r2)).transpose()?,
        };
        Ok(Self { round: wire.round, quality })
    }
}

impl From<fedra::ClientEvaluation> for wire::ClientEvaluation {
    fn from(evaluation: fedra::ClientEvaluation) -> Self {
        Self { held_out: evaluation.held_out(), loss_bound: evaluation.loss_bound() }
    }
}

impl TryFrom<wire::ClientEvaluation> for fedra::ClientEvaluation {
    type Error = DecodeError;

    fn try_from(wire: wire::ClientEvaluation) -> Result<Self, DecodeError> {
        let wire::ClientEvaluation { held_out, loss_bound } = wire;
        Self::new(held_out, loss_bound)
            .map_err(|error| invalid("task.client_evaluation", error.to_string()))
    }
}

/// A share of examples, 0 to 1.
fn share(field: &'static str, value: Option<f64>) -> Result<Option<f64>, DecodeError> {
    if value.is_some_and(|value| !(0.0..=1.0).contains(&value)) {
        return Err(invalid(field, "must be 0 to 1"));
    }
    Ok(value)
}

/// A size of errors, from 0.
fn error(field: &'static str, value: Option<f64>) -> Result<Option<f64>, DecodeError> {
    match value.map(|value| finite(field, value)).transpose()? {
        Some(value) if value < 0.0 => Err(invalid(field, "must not be negative")),
        value => Ok(value),
    }
}

fn at_most_1(field: &'static str, value: f64) -> Result<f64, DecodeError> {
    if finite(field, value)? > 1.0 {
        return Err(invalid(field, "must be at most 1"));
    }
    Ok(value)
}
