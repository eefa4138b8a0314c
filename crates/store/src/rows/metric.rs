//! Steps and evaluations.

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::prelude::*;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Text;
use diesel::sqlite::Sqlite;
use ftl_core::job::JobEvent;
use ftl_core::metrics::{Evaluated, Rewards, Stepped};
use ftl_core::{Event, EventRecord};

use super::value::{count, integer, unreadable};
use crate::error::StoreError;
use crate::schema::metrics;

/// What a row tells of.
#[derive(Clone, Copy, Debug, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
pub(crate) enum Kind {
    Stepped,
    Evaluated,
}

/// The numbers of a row, as they are read and written.
#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = metrics, check_for_backend(Sqlite), treat_none_as_default_value = false)]
pub(crate) struct NumbersRow {
    kind: Kind,
    step: i64,
    loss_nats: Option<f64>,
    tokens: i64,
    epoch: Option<f64>,
    grad_norm: Option<f64>,
    learning_rate: Option<f64>,
    supervised_tokens: Option<i64>,
    samples: Option<i64>,
    tokens_per_sec: Option<f64>,
    samples_per_sec: Option<f64>,
    step_millis: Option<f64>,
    data_millis: Option<f64>,
    perplexity: Option<f64>,
    token_accuracy: Option<f64>,
    #[diesel(embed)]
    rewards: RewardsRow,
}

/// Four numbers, or none where `reward_accuracy` is none.
#[derive(Default, Queryable, Selectable, Insertable)]
#[diesel(table_name = metrics, check_for_backend(Sqlite), treat_none_as_default_value = false)]
pub(crate) struct RewardsRow {
    rewards_chosen: Option<f64>,
    rewards_rejected: Option<f64>,
    reward_margin: Option<f64>,
    reward_accuracy: Option<f64>,
}

impl From<Option<Rewards>> for RewardsRow {
    fn from(rewards: Option<Rewards>) -> Self {
        let Some(Rewards { rewards_chosen, rewards_rejected, reward_margin, reward_accuracy }) = rewards
        else {
            return Self::default();
        };
        Self {
            rewards_chosen: Some(rewards_chosen),
            rewards_rejected: Some(rewards_rejected),
            reward_margin: Some(reward_margin),
            reward_accuracy: Some(reward_accuracy),
        }
    }
}

impl From<RewardsRow> for Option<Rewards> {
    fn from(row: RewardsRow) -> Self {
        let RewardsRow { rewards_chosen, rewards_rejected, reward_margin, reward_accuracy } = row;
        reward_accuracy.map(|reward_accuracy| Rewards {
            rewards_chosen: number(rewards_chosen),
            rewards_rejected: number(rewards_rejected),
            reward_margin: number(reward_margin),
            reward_accuracy,
        })
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = metrics, check_for_backend(Sqlite))]
pub(crate) struct MetricRow {
    seq: i64,
    attempt: i64,
    time_unix_ms: i64,
    #[diesel(embed)]
    numbers: NumbersRow,
}

impl TryFrom<&Stepped> for NumbersRow {
    type Error = StoreError;

    fn try_from(stepped: &Stepped) -> Result<Self, StoreError> {
        let Stepped {
            step,
            epoch,
            loss_nats,
            grad_norm,
            learning_rate,
            tokens,
            supervised_tokens,
            samples,
            tokens_per_sec,
            samples_per_sec,
            step_millis,
            data_millis,
            rewards,
        } = stepped;
        Ok(Self {
            kind: Kind::Stepped,
            step: integer("metrics.step", *step)?,
            loss_nats: Some(*loss_nats),
            tokens: integer("metrics.tokens", *tokens)?,
            epoch: Some(*epoch),
            grad_norm: Some(*grad_norm),
            learning_rate: Some(*learning_rate),
            supervised_tokens: Some(integer("metrics.supervised_tokens", *supervised_tokens)?),
            samples: Some(integer("metrics.samples", *samples)?),
            tokens_per_sec: Some(*tokens_per_sec),
            samples_per_sec: Some(*samples_per_sec),
            step_millis: Some(*step_millis),
            data_millis: Some(*data_millis),
            perplexity: None,
            token_accuracy: None,
            rewards: (*rewards).into(),
        })
    }
}

impl TryFrom<&Evaluated> for NumbersRow {
    type Error = StoreError;

    fn try_from(evaluated: &Evaluated) -> Result<Self, StoreError> {
        let Evaluated { step, loss_nats, perplexity, token_accuracy, tokens, rewards } = evaluated;
        Ok(Self {
            kind: Kind::Evaluated,
            step: integer("metrics.step", *step)?,
            loss_nats: Some(*loss_nats),
            tokens: integer("metrics.tokens", *tokens)?,
            epoch: None,
            grad_norm: None,
            learning_rate: None,
            supervised_tokens: None,
            samples: None,
            tokens_per_sec: None,
            samples_per_sec: None,
            step_millis: None,
            data_millis: None,
            perplexity: Some(*perplexity),
            token_accuracy: Some(*token_accuracy),
            rewards: (*rewards).into(),
        })
    }
}

impl TryFrom<MetricRow> for JobEvent {
    type Error = StoreError;

    fn try_from(row: MetricRow) -> Result<Self, StoreError> {
        let MetricRow { seq, attempt, time_unix_ms, numbers } = row;
        Ok(Self {
            attempt: count("metrics.attempt", attempt)?,
            record: EventRecord {
                seq: count("metrics.seq", seq)?,
                time_unix_ms: count("metrics.time_unix_ms", time_unix_ms)?,
                event: numbers.try_into()?,
            },
        })
    }
}

impl TryFrom<NumbersRow> for Event {
    type Error = StoreError;

    fn try_from(row: NumbersRow) -> Result<Self, StoreError> {
        let NumbersRow {
            kind,
            step,
            loss_nats,
            tokens,
            epoch,
            grad_norm,
            learning_rate,
            supervised_tokens,
            samples,
            tokens_per_sec,
            samples_per_sec,
            step_millis,
            data_millis,
            perplexity,
            token_accuracy,
            rewards,
        } = row;
        let step = count("metrics.step", step)?;
        let tokens = count("metrics.tokens", tokens)?;
        let loss_nats = number(loss_nats);
        match kind {
            Kind::Stepped => Ok(Self::Stepped(Stepped {
                step,
                epoch: number(epoch),
                loss_nats,
                grad_norm: number(grad_norm),
                learning_rate: number(learning_rate),
                tokens,
                supervised_tokens: present("metrics.supervised_tokens", supervised_tokens)?,
                samples: present("metrics.samples", samples)?,
                tokens_per_sec: number(tokens_per_sec),
                samples_per_sec: number(samples_per_sec),
                step_millis: number(step_millis),
                data_millis: number(data_millis),
                rewards: rewards.into(),
            })),
            Kind::Evaluated => Ok(Self::Evaluated(Evaluated {
                step,
                loss_nats,
                perplexity: number(perplexity),
                token_accuracy: number(token_accuracy),
                tokens,
                rewards: rewards.into(),
            })),
        }
    }
}

/// SQLite makes NULL of NaN.
fn number(stored: Option<f64>) -> f64 {
    stored.unwrap_or(f64::NAN)
}

fn present(field: &'static str, number: Option<i64>) -> Result<u64, StoreError> {
    count(field, number.ok_or_else(|| unreadable(field, "a step without it"))?)
}

impl ToSql<Text, Sqlite> for Kind {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(match self {
            Self::Stepped => "stepped",
            Self::Evaluated => "evaluated",
        });
        Ok(serialize::IsNull::No)
    }
}

impl FromSql<Text, Sqlite> for Kind {
    fn from_sql(mut value: <Sqlite as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        // Without a copy: one is read for each of a million rows.
        match value.read_text() {
            "stepped" => Ok(Self::Stepped),
            "evaluated" => Ok(Self::Evaluated),
            other => Err(format!("metrics.kind holds `{other}`").into()),
        }
    }
}
