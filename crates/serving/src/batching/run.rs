//! Runs the requests of a batch, in as few runs as the memory allows, and gives each its answer.

use std::{num::NonZeroUsize, sync::Arc, time::Instant};

use adytum_engine::{operators::Cancellation, tensor::Tensor};

use super::member::Member;
use crate::{
    error::RequestError,
    models::count_elements,
    observation::Ran,
    scheduler::{ScheduleError, Scheduler, Turn},
    tensor::rows::{cut, join, largest_row, widen},
};

/// Runs those whose callers are still there.
pub(super) async fn members(scheduler: &Scheduler, sizes: &[NonZeroUsize], members: Vec<Member>) {
    let mut together: Vec<Member> = Vec::new();
    for member in members.into_iter().filter(|member| !member.answer.is_closed()) {
        together.push(member);
        if together.len() > 1
            && !fits(&together, sizes)
            && let Some(last) = together.pop()
        {
            run_together(scheduler, sizes, std::mem::take(&mut together)).await;
            together.push(last);
        }
    }
    run_together(scheduler, sizes, together).await;
}

/// Whether a run of all of these may have the memory that it needs.
fn fits(members: &[Member], sizes: &[NonZeroUsize]) -> bool {
    let Some(first) = members.first() else { return true };
    let rows: usize = members.iter().map(|member| member.rows).sum();
    let rows = rows + padding(rows, sizes);
    let elements = (0..first.inputs.len()).map(|index| {
        let row = largest_row(&inputs(members, index));
        row.iter().copied().fold(rows, usize::saturating_mul)
    });
    let elements = elements.fold(0, usize::saturating_add);
    first
        .servable
        .signature(&first.signature)
        .is_ok_and(|signature| first.servable.check_memory(signature, elements).is_ok())
}

/// One input of all of these.
fn inputs(members: &[Member], index: usize) -> Vec<&Tensor> {
    members.iter().filter_map(|member| member.inputs.get(index)).collect()
}

/// The rows that are added to `rows` for the next allowed size.
fn padding(rows: usize, sizes: &[NonZeroUsize]) -> usize {
    let allowed = sizes.iter().find(|size| size.get() >= rows);
    allowed.map_or(0, |size| size.get() - rows)
}

/// Runs these as one. If that gives no answer for each, each is run alone.
async fn run_together(scheduler: &Scheduler, sizes: &[NonZeroUsize], mut members: Vec<Member>) {
    members.retain(|member| !member.answer.is_closed());
    for member in &members {
        member.servable.metrics().queued(member.submitted.elapsed());
    }
    let rows = members.iter().map(|member| member.rows).sum();
    if members.len() > 1 || padding(rows, sizes) > 0 {
        let Some(answers) = run_joined(scheduler, &mut members, rows, padding(rows, sizes)).await else {
            return;
        };
        match answers {
            Ok(answers) => {
                for (member, answer) in members.into_iter().zip(answers) {
                    // Nobody may be waiting any more.
                    let _ = member.answer.send(Ok(answer));
                }
                return;
            }
            // Each alone would fare no better.
            Err(Some(RequestError::Schedule(
                error @ (ScheduleError::Overloaded { .. }
                | ScheduleError::Congested { .. }
                | ScheduleError::Stopped),
            ))) => {
                for member in members {
                    let _ = member.answer.send(Err(error.clone().into()));
                }
                return;
            }
            Err(_) => {}
        }
    }
    for mut member in members {
        let inputs = std::mem::take(&mut member.inputs);
        let rows = member.rows;
        let ran = run_engine(scheduler, &mut [&mut member], inputs, rows).await;
        if let Some(answer) = ran {
            let _ = member.answer.send(answer);
        }
    }
}

/// The answers of each of these members by one run; `Err` if it has none for each, with
/// the run's error if it had one; `None` if all callers went.
async fn run_joined(
    scheduler: &Scheduler,
    members: &mut [Member],
    rows: usize,
    padding: usize,
) -> Option<Result<Vec<Vec<Tensor>>, Option<RequestError>>> {
    let sizes: Vec<usize> = members.iter().map(|member| member.rows).collect();
    let count = members.first().map_or(0, |member| member.inputs.len());
    let joined: Option<Vec<Tensor>> = (0..count)
        .map(|index| {
            let parts = inputs(members, index);
            let row = largest_row(&parts);
            if parts.iter().all(|part| part.shape().get(1..) == Some(row.as_slice())) {
                return join(&parts, padding);
            }
            let wide: Option<Vec<Tensor>> = parts.iter().map(|part| widen(part, &row)).collect();
            join(&wide?.iter().collect::<Vec<_>>(), padding)
        })
        .collect();
    let Some(joined) = joined else { return Some(Err(None)) };
    let mut callers: Vec<&mut Member> = members.iter_mut().collect();
    let outputs = match run_engine(scheduler, &mut callers, joined, rows + padding).await? {
        Ok(outputs) => outputs,
        Err(error) => return Some(Err(Some(error))),
    };
    let mut answers: Vec<Vec<Tensor>> = sizes.iter().map(|_| Vec::new()).collect();
    for output in outputs {
        let Some(parts) = cut(&output, &sizes, rows + padding) else { return Some(Err(None)) };
        for (answer, part) in answers.iter_mut().zip(parts) {
            answer.push(part);
        }
    }
    Some(Ok(answers))
}

/// A run for these callers; `None` if all of them went.
async fn run_engine(
    scheduler: &Scheduler,
    callers: &mut [&mut Member],
    inputs: Vec<Tensor>,
    batch: usize,
) -> Option<Result<Vec<Tensor>, RequestError>> {
    let first = callers.first()?;
    let servable = Arc::clone(&first.servable);
    let (name, outputs) = (first.signature.clone(), first.outputs.clone());
    let turn = Turn::of_batch(Arc::as_ptr(&servable).addr(), callers.iter().map(|caller| caller.share()));
    let entries: Vec<_> =
        callers.iter().filter_map(|caller| Some((caller.entry.clone()?, caller.submitted))).collect();
    let predicted =
        servable.signature(&name).ok().and_then(|found| found.cost().predict(count_elements(&inputs)));
    let cancellation = Cancellation::default();
    let seen = cancellation.clone();
    let run = scheduler.run_in(turn, predicted, move |threads| {
        let began = Instant::now();
        servable.metrics().batch(batch);
        let signature = servable.signature(&name)?;
        let answer = servable.run(signature, inputs, &outputs, threads, &seen);
        let ended = Instant::now();
        for (entry, submitted) in entries {
            entry.ran(Ran { submitted, began, ended, batch });
        }
        answer
    });
    let gone = async {
        for caller in callers {
            caller.answer.closed().await;
        }
    };
    tokio::select! {
        biased;
        answer = run => Some(answer.unwrap_or_else(|error| Err(error.into()))),
        () = gone => {
            cancellation.cancel();
            None
        }
    }
}
