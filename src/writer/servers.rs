//! Sites that one file of a web server is for: which of them share a server, and what that one is called.

use std::cmp::Reverse;

use super::{Site, WriterError};

/// What stands in one file. What was typed of the site, such as its port, is the same for all.
#[derive(Debug)]
pub struct Servers<'a> {
    /// In the order of the file.
    pub sites: &'a [Site],
    servers: Vec<Server<'a>>,
}

/// A server of nginx, a virtual host of Apache.
#[derive(Debug)]
pub struct Server<'a> {
    /// Longer paths come before those that they lie in, and the whole site last. Never empty.
    pub sites: Vec<&'a Site>,
    /// Host names; empty: every name that no other site has.
    pub names: Vec<String>,
    /// Whether the name is only there for somebody to replace it.
    pub is_unnamed: bool,
}

impl<'a> Servers<'a> {
    /// `sites`: at least one. Those whose paths are different share a server.
    ///
    /// # Errors
    /// One name was typed, and there have to be several servers.
    pub fn new(sites: &'a [Site]) -> Result<Self, WriterError> {
        let mut servers: Vec<Server<'a>> = Vec::new();
        for site in sites {
            let has_room = |server: &&mut Server| {
                server
                    .sites
                    .iter()
                    .all(|other| other.mount.as_str() != site.mount.as_str())
            };
            match servers.iter_mut().find(has_room) {
                Some(server) => server.sites.push(site),
                None => servers.push(Server {
                    sites: vec![site],
                    names: site.server_names.clone(),
                    is_unnamed: false,
                }),
            }
        }
        let is_one = servers.len() == 1;
        for server in &mut servers {
            server.sites.sort_by_key(|site| Reverse(site.mount.as_str().len()));
            if !is_one && !server.names.is_empty() {
                return Err(WriterError::SeveralSites);
            }
            // Where there is more than one, somebody has to say what is for which.
            if !is_one {
                server.names = vec![format!("{}.example.org", server.whole().name)];
                server.is_unnamed = true;
            }
        }
        Ok(Self { sites, servers })
    }

    pub fn iter(&self) -> impl Iterator<Item = &Server<'a>> {
        self.servers.iter()
    }

    /// The only one, which needs no rules to tell it from others.
    pub fn only(&self) -> Option<&'a Site> {
        match self.sites {
            [site] => Some(site),
            _ => None,
        }
    }

    /// One that stands for all, where they are the same.
    pub fn first(&self) -> &'a Site {
        &self.sites[0]
    }

    pub fn is_one_server(&self) -> bool {
        self.servers.len() == 1
    }

    /// `blog, shop`.
    pub fn title(&self) -> String {
        let names: Vec<_> = self.sites.iter().map(|site| site.name.as_str()).collect();
        names.join(", ")
    }

    /// What the file is called, and names in it that stand for all.
    pub fn name(&self) -> &'a str {
        self.only().map_or("wsgi-fpm", |site| &site.name)
    }
}

impl<'a> Server<'a> {
    /// The one whose path is the shortest.
    fn whole(&self) -> &'a Site {
        self.sites[self.sites.len() - 1]
    }

    /// The only one in it.
    pub fn only(&self) -> Option<&'a Site> {
        match self.sites.as_slice() {
            [site] => Some(site),
            _ => None,
        }
    }
}
