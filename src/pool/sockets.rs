//! A pool's listeners over generations. Each start of one takes over what it still needs, makes anew unix sockets whose files
//! were removed, and opens what is new; what is not needed any more is closed when that generation serves.

use std::io;
use std::sync::Arc;

use contract::settings::ListenerKind;
use settings::Setting;
use settings::values::Address;
use tracing::{error, info};

use super::listeners::{ListenError, Listener, NamedError, number_of};
use super::passing::SocketsState;
use super::reach::obstacle;
use super::siblings;
use crate::config::{MAX_LISTENERS, SocketOptions};
use crate::service::Service;

#[derive(Debug)]
pub struct Sockets {
    /// Whose they are.
    pool: String,
    service: Arc<Service>,
    /// Of the generation that serves, in the order of its addresses.
    serving: Vec<Bound>,
    /// Of the one that starts; the same listeners where the addresses are the same.
    starting: Vec<Bound>,
}

#[derive(Debug, Clone)]
struct Bound {
    address: Address,
    /// `None`: whatever they were in the last run of the program.
    options: Option<SocketOptions>,
    listener: Arc<Listener>,
}

impl Bound {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.listener, &other.listener)
    }
}

impl Sockets {
    /// With what the service manager has kept for these addresses: connections may wait there.
    pub fn new(pool: &str, listen: &[Address], service: Arc<Service>) -> Self {
        let resume = |address: &Address| {
            let listener = Arc::new(Listener::resume(address, &service)?);
            siblings::note(pool, &listener);
            Some(Bound {
                address: address.clone(),
                options: None,
                listener,
            })
        };
        Self {
            pool: pool.to_owned(),
            serving: listen.iter().filter_map(resume).collect(),
            starting: Vec::new(),
            service,
        }
    }

    /// Who keeps them.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// As another program has left them.
    ///
    /// # Errors
    /// What was passed can't be taken.
    pub fn resume(pool: &str, state: SocketsState, service: Arc<Service>) -> io::Result<Self> {
        let listeners = state
            .listeners
            .into_iter()
            .map(|listener| Listener::passed(listener, &service).map(Arc::new));
        let listeners = listeners.collect::<io::Result<Vec<_>>>()?;
        listeners.iter().for_each(|listener| siblings::note(pool, listener));
        let bound = |(address, i): (Address, usize)| {
            Ok(Bound {
                address,
                options: None,
                listener: listeners.get(i).map(Arc::clone).ok_or(io::ErrorKind::InvalidData)?,
            })
        };
        Ok(Self {
            pool: pool.to_owned(),
            serving: state.serving.into_iter().map(bound).collect::<io::Result<_>>()?,
            starting: state.starting.into_iter().map(bound).collect::<io::Result<_>>()?,
            service,
        })
    }

    /// What another program needs to go on with them.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn state(&self) -> io::Result<SocketsState> {
        let mut all: Vec<&Arc<Listener>> = Vec::new();
        for Bound { listener, .. } in self.serving.iter().chain(&self.starting) {
            if !all.iter().any(|known| Arc::ptr_eq(known, listener)) {
                all.push(listener);
            }
        }
        let numbered = |bound: &Bound| {
            let number = all.iter().position(|listener| Arc::ptr_eq(listener, &bound.listener));
            number.map(|number| (bound.address.clone(), number))
        };
        Ok(SocketsState {
            listeners: all.iter().map(|listener| listener.state()).collect::<io::Result<_>>()?,
            serving: self.serving.iter().filter_map(numbered).collect(),
            starting: self.starting.iter().filter_map(numbered).collect(),
        })
    }

    /// Has a listener for each of these addresses. If one can't be had, everything stays as it was.
    ///
    /// # Errors
    /// An address that nothing listens on yet can't be had.
    pub fn prepare(&mut self, listen: &Setting<Vec<Address>>, options: &SocketOptions) -> Result<(), NamedError> {
        self.prepare_all(listen, options).map_err(|error| NamedError {
            option: listen.name().to_owned(),
            error,
        })
    }

    fn prepare_all(&mut self, addresses: &[Address], options: &SocketOptions) -> Result<(), ListenError> {
        // What other programs left open comes first, before new descriptors could get its numbers.
        let mut order: Vec<usize> = Vec::new();
        for (i, address) in addresses.iter().enumerate() {
            let number = match address {
                Address::Named(name) => number_of(name)?,
                _ => 1,
            };
            order.extend(std::iter::repeat_n(i, number));
            if order.len() > MAX_LISTENERS {
                let address = address.to_string();
                return Err(ListenError::TooMany { address, number });
            }
        }
        order.sort_by_key(|&i| !addresses[i].is_inherited());
        let mut next: Vec<(usize, Bound)> = Vec::new();
        for i in order {
            let is_free =
                |bound: &&Bound| bound.address == addresses[i] && !next.iter().any(|(_, other)| other.is(bound));
            let nth = next.iter().filter(|(other, _)| *other == i).count();
            let known: Vec<&Bound> = self.starting.iter().chain(&self.serving).filter(is_free).collect();
            let bound = match known.iter().find(|bound| bound.listener.is_reachable()) {
                Some(bound) => bound.with(options)?,
                None => self.open(&addresses[i], nth, options, known.last().copied())?,
            };
            next.push((i, bound));
        }
        next.sort_by_key(|(i, _)| *i);
        self.starting = next.into_iter().map(|(_, bound)| bound).collect();
        Ok(())
    }

    /// `lost`: what can't be reached by its path any more.
    fn open(
        &self,
        address: &Address,
        nth: usize,
        options: &SocketOptions,
        lost: Option<&Bound>,
    ) -> Result<Bound, ListenError> {
        match (Listener::open(address, nth, options).map_err(siblings::name), lost) {
            (Ok(listener), lost) => {
                if lost.is_some() {
                    info!(
                        listen = listener.address(),
                        "the socket's file was gone: it is made anew"
                    );
                }
                // What the service manager has given it has already.
                let listener = match address.is_inherited() {
                    true => listener,
                    false => listener.kept_by(&self.service),
                };
                let listener = Arc::new(listener);
                siblings::note(&self.pool, &listener);
                Ok(Bound {
                    address: address.clone(),
                    options: Some(options.clone()),
                    listener,
                })
            }
            (Err(error), Some(lost)) => {
                error!("the pool can't be reached there any more: {error}");
                Ok(lost.clone())
            }
            (Err(error), None) => Err(error),
        }
    }

    /// What the next generation serves: a listener for each address, and behind them those that can't be reached any more, with
    /// the connections that wait in them, as far as there is room.
    pub fn for_generation(&self) -> Vec<&Listener> {
        self.bound_for_generation().map(|bound| &*bound.listener).collect()
    }

    fn bound_for_generation(&self) -> impl Iterator<Item = &Bound> {
        let is_lost =
            |bound: &&Bound| !bound.listener.is_reachable() && !self.starting.iter().any(|other| other.is(bound));
        let lost = self.serving.iter().filter(is_lost);
        self.starting.iter().chain(lost).take(MAX_LISTENERS)
    }

    /// Which of these others have made.
    pub fn inherited(&self) -> Vec<usize> {
        let all = self.bound_for_generation().enumerate();
        all.filter(|(_, bound)| bound.address.is_inherited())
            .map(|(i, _)| i)
            .collect()
    }

    pub fn kinds(&self) -> Vec<ListenerKind> {
        self.for_generation().into_iter().map(Listener::kind).collect()
    }

    /// All that there are.
    pub fn all(&self) -> impl Iterator<Item = &Listener> {
        let is_new = |bound: &&Bound| !self.serving.iter().any(|other| other.is(bound));
        let starting = self.starting.iter().filter(is_new);
        self.serving.iter().chain(starting).map(|bound| &*bound.listener)
    }

    /// Why nobody can connect to this one, if that is so, nor to another one with its address.
    pub fn obstacle(&self, listener: &Listener) -> Option<String> {
        let is_other = |other: &Listener| other.address() == listener.address() && other.is_reachable();
        obstacle(listener).filter(|_| !self.all().any(is_other))
    }

    /// Of what serves now.
    pub fn addresses(&self) -> String {
        let addresses: Vec<_> = self.serving.iter().map(|bound| bound.listener.address()).collect();
        addresses.join(", ")
    }

    /// The generation serves.
    pub fn is_ready(&mut self) {
        if !self.starting.is_empty() {
            self.serving = std::mem::take(&mut self.starting);
        }
    }

    /// It never will. If nothing has ever served, what was made for it stays, with what the service manager has kept, for the next one
    /// and to say until then that there is nobody; else nobody would answer there.
    pub fn has_failed(&mut self, has_served: bool) {
        let starting = std::mem::take(&mut self.starting);
        if !has_served && !starting.is_empty() {
            self.serving = starting;
        }
    }

    /// Connections are refused from now on.
    pub fn close(&mut self) {
        self.starting.clear();
        self.serving.clear();
    }
}

impl Bound {
    /// The same listener, with these options.
    fn with(&self, options: &SocketOptions) -> Result<Self, ListenError> {
        if self.options.as_ref() != Some(options) {
            self.listener.set(options)?;
        }
        Ok(Self {
            options: Some(options.clone()),
            ..self.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn options(mode: u32) -> SocketOptions {
        SocketOptions {
            mode,
            owner: None,
            group: None,
            backlog: 16,
        }
    }

    fn named<const N: usize>(addresses: [Address; N]) -> Setting<Vec<Address>> {
        Setting::new(addresses.to_vec(), "--listen")
    }

    fn descriptors(sockets: &Sockets) -> Vec<i32> {
        use std::os::fd::{AsFd, AsRawFd};
        let listeners = sockets.for_generation();
        listeners
            .into_iter()
            .map(|listener| listener.as_fd().as_raw_fd())
            .collect()
    }

    #[test]
    fn listeners_stay_where_their_addresses_do() {
        let directory = tempfile::tempdir().unwrap();
        let address = |name: &str| Address::Unix(directory.path().join(name));
        let mut sockets = Sockets::new("a", &[], Arc::default());
        sockets
            .prepare(&named([address("a"), address("b")]), &options(0o660))
            .unwrap();
        let first = descriptors(&sockets);
        sockets.is_ready();
        sockets
            .prepare(&named([address("b"), address("c")]), &options(0o660))
            .unwrap();
        assert_eq!(descriptors(&sockets)[0], first[1]);
        assert!(directory.path().join("a").exists(), "the old generation still serves");
        sockets.is_ready();
        assert!(!directory.path().join("a").exists());
        assert!(directory.path().join("b").exists() && directory.path().join("c").exists());
    }

    #[test]
    fn start_that_fails_leaves_the_listeners_of_what_serves() {
        let directory = tempfile::tempdir().unwrap();
        let address = |name: &str| Address::Unix(directory.path().join(name));
        let mut sockets = Sockets::new("a", &[], Arc::default());
        sockets.prepare(&named([address("a")]), &options(0o660)).unwrap();
        sockets.is_ready();
        sockets.prepare(&named([address("b")]), &options(0o660)).unwrap();
        sockets.has_failed(true);
        assert!(directory.path().join("a").exists() && !directory.path().join("b").exists());
        std::fs::write(directory.path().join("file"), "").unwrap();
        assert!(sockets.prepare(&named([address("file")]), &options(0o660)).is_err());
        assert!(directory.path().join("a").exists());
    }

    #[test]
    fn start_that_fails_leaves_all_listeners_where_nothing_has_served() {
        let directory = tempfile::tempdir().unwrap();
        let address = |name: &str| Address::Unix(directory.path().join(name));
        let mut sockets = Sockets::new("a", &[], Arc::default());
        for names in [["a"].as_slice(), &["a", "b"]] {
            let listen = Setting::new(names.iter().map(|name| address(name)).collect(), "--listen");
            sockets.prepare(&listen, &options(0o660)).unwrap();
            sockets.has_failed(false);
            assert!(names.iter().all(|name| directory.path().join(name).exists()));
        }
    }

    #[test]
    fn listener_that_stays_gets_the_new_mode() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let mut sockets = Sockets::new("a", &[], Arc::default());
        for mode in [0o660, 0o600, 0o666] {
            sockets
                .prepare(&named([Address::Unix(path.clone())]), &options(mode))
                .unwrap();
            sockets.is_ready();
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, mode);
        }
    }

    #[test]
    fn ports_that_are_new_each_time_are_two() {
        let mut sockets = Sockets::new("a", &[], Arc::default());
        let any = || Address::Tcp("127.0.0.1:0".parse().unwrap());
        sockets.prepare(&named([any(), any()]), &options(0)).unwrap();
        let first = descriptors(&sockets);
        assert_ne!(first[0], first[1]);
        sockets.is_ready();
        sockets.prepare(&named([any(), any()]), &options(0)).unwrap();
        assert_eq!(descriptors(&sockets), first);
    }
}
