//! What goes along when another program takes this one's place.

use serde::{Deserialize, Serialize};
use settings::values::Address;

use super::relay::RelayState;
use crate::inherited::Given;
use crate::pool::passing::{ListenerState, PoolState};
use crate::pool::rest::Resting;
use crate::status::history::History;

#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    pub log: RelayState,
    pub pools: Vec<PoolState>,
    #[serde(default)]
    pub given: Vec<Given>,
    #[serde(default)]
    pub own: OwnSockets,
}

/// Those on which the instance itself answers.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct OwnSockets {
    #[serde(default)]
    pub status: Option<StatusState>,
    /// Of commands.
    #[serde(default)]
    pub control: Option<ListenerState>,
}

/// Where the status is served over HTTP.
#[derive(Debug, Serialize, Deserialize)]
pub struct StatusState {
    /// As it was named.
    pub address: Address,
    pub listener: ListenerState,
    #[serde(default)]
    pub history: History,
}

/// All pools, which rest as long as this lives.
#[derive(Debug)]
pub struct Passing {
    pools: Vec<PoolState>,
    resting: Resting,
}

impl Passing {
    pub fn new(pools: Vec<PoolState>, resting: Resting) -> Self {
        Self { pools, resting }
    }

    pub fn into_parts(self) -> (Vec<PoolState>, Resting) {
        (self.pools, self.resting)
    }
}
