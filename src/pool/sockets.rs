//! A pool's listeners over generations: each start of one looks whether unix sockets can still be reached by their path, and
//! makes anew what was removed.

use contract::control::{MAX_FDS, OWN_FDS};
use contract::settings::ListenerKind;
use tracing::{error, info};

use super::listeners::{ListenError, Listener};
use crate::config::SocketOptions;
use settings::values::Address;

#[derive(Debug)]
pub struct Sockets {
    addresses: Vec<Address>,
    options: SocketOptions,
    /// In the order of the addresses.
    listeners: Vec<Listener>,
    /// In the place of that number, once the generation that starts is ready.
    renewed: Vec<(usize, Listener)>,
}

impl Sockets {
    /// # Errors
    /// One of them can't be had.
    pub fn open(addresses: &[Address], options: &SocketOptions) -> Result<Self, ListenError> {
        // What other programs left open comes first, before new descriptors could get its numbers.
        let mut order: Vec<usize> = (0..addresses.len()).collect();
        order.sort_by_key(|&i| !matches!(addresses[i], Address::Fd(_)));
        let mut opened = Vec::new();
        for i in order {
            opened.push((i, Listener::open(&addresses[i], options)?));
        }
        opened.sort_by_key(|(i, _)| *i);
        Ok(Self {
            addresses: addresses.to_vec(),
            options: options.clone(),
            listeners: opened.into_iter().map(|(_, listener)| listener).collect(),
            renewed: Vec::new(),
        })
    }

    /// Makes those anew whose files are gone. What stands in their place stays, and the log says so.
    pub fn renew(&mut self) {
        self.renewed.retain(|(_, listener)| listener.is_reachable());
        for (number, listener) in self.listeners.iter().enumerate() {
            if listener.is_reachable() || self.renewed.iter().any(|(renewed, _)| *renewed == number) {
                continue;
            }
            match Listener::open(&self.addresses[number], &self.options) {
                Ok(listener) => {
                    info!(
                        listen = listener.address(),
                        "the socket's file was gone: it is made anew"
                    );
                    self.renewed.push((number, listener));
                }
                Err(error) => error!("the pool can't be reached there any more: {error}"),
            }
        }
    }

    /// What the next generation serves: new sockets in the place of those whose files are gone, and behind them the old ones
    /// with the connections that wait in them, as far as there is room.
    pub fn for_generation(&self) -> Vec<&Listener> {
        let mut all: Vec<_> = self.listeners.iter().collect();
        let old: Vec<_> = self
            .renewed
            .iter()
            .map(|(number, _)| &self.listeners[*number])
            .collect();
        for (number, listener) in &self.renewed {
            all[*number] = listener;
        }
        all.extend(old);
        all.truncate(MAX_FDS - OWN_FDS);
        all
    }

    pub fn kinds(&self) -> Vec<ListenerKind> {
        self.for_generation().into_iter().map(Listener::kind).collect()
    }

    pub fn addresses(&self) -> String {
        let addresses: Vec<_> = self.listeners.iter().map(Listener::address).collect();
        addresses.join(", ")
    }

    /// The generation serves.
    pub fn is_ready(&mut self) {
        for (number, listener) in self.renewed.drain(..) {
            self.listeners[number] = listener;
        }
    }

    /// It never will: nobody would answer on what was made for it.
    pub fn has_failed(&mut self) {
        self.renewed.clear();
    }

    /// Connections are refused from now on.
    pub fn close(&mut self) {
        self.renewed.clear();
        self.listeners.clear();
    }
}
