//! Who a pool's user is: what the system's accounts say of names and numbers.

use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist, getgroups};
use serde::{Deserialize, Serialize};
use settings::sections::RunAs;
use settings::values::Account;

use super::{Owner, UserError};

/// What the system's accounts say of a user, for his environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Home {
    pub name: String,
    pub directory: String,
    pub shell: String,
}

impl Home {
    /// Of the user that this process is.
    pub fn own() -> Option<Self> {
        let user = User::from_uid(Uid::effective()).ok().flatten();
        user.as_ref().map(Self::of)
    }

    pub(super) fn of(user: &User) -> Self {
        Self {
            name: user.name.clone(),
            directory: user.dir.to_string_lossy().into_owned(),
            shell: user.shell.to_string_lossy().into_owned(),
        }
    }
}

/// `None` if it is who this process is already.
///
/// # Errors
/// An account does not exist, or this process may not become it.
pub fn owner(options: &RunAs) -> Result<Option<Owner>, UserError> {
    let RunAs {
        user,
        group,
        groups: further,
        ..
    } = options;
    if user.is_none() && group.is_none() && further.is_empty() {
        return Ok(None);
    }
    let account = match &**user {
        Some(named) => account(user.name(), named)?,
        None => User::from_uid(Uid::effective()).ok().flatten(),
    };
    let uid = match (&account, user.as_ref().and_then(number)) {
        (Some(account), _) => account.uid.as_raw(),
        (None, Some(number)) => number,
        (None, None) => Uid::effective().as_raw(),
    };
    let gid = match (&**group, &account) {
        (Some(named), _) => group_number(group.name(), named)?,
        (None, Some(_)) if user.is_none() => Gid::effective().as_raw(),
        (None, Some(account)) => account.gid.as_raw(),
        (None, None) => return Err(UserError::NoAccount(user.name().to_owned(), uid)),
    };
    let mut groups = further
        .iter()
        .map(|named| group_number(further.name(), named))
        .collect::<Result<Vec<_>, _>>()?;
    if let (true, Some(account)) = (further.is_empty(), &account) {
        groups = groups_of(user.name(), account, gid)?;
    }
    groups.push(gid);
    groups.sort_unstable();
    groups.dedup();
    if !Uid::effective().is_root() {
        return is_this(options, uid, gid).map(|()| None);
    }
    Ok(Some(Owner {
        uid,
        gid,
        groups,
        account: account.as_ref().map(Home::of),
    }))
}

/// Who is not root can say nothing but who he is.
fn is_this(options: &RunAs, uid: u32, gid: u32) -> Result<(), UserError> {
    let not_root = |setting: &str, named: &Account| Err(UserError::NotRoot(setting.to_owned(), named.clone()));
    match (&*options.user, &*options.group) {
        (Some(user), _) if uid != Uid::effective().as_raw() => return not_root(options.user.name(), user),
        (_, Some(group)) if gid != Gid::effective().as_raw() => return not_root(options.group.name(), group),
        _ => {}
    }
    let own = getgroups().unwrap_or_default();
    let name = options.groups.name();
    for named in options.groups.iter() {
        if !own.contains(&Gid::from_raw(group_number(name, named)?)) {
            return not_root(name, named);
        }
    }
    Ok(())
}

fn number(named: &Account) -> Option<u32> {
    // The last one stands for nobody.
    named.as_str().parse().ok().filter(|&number| number != u32::MAX)
}

/// `None` for a number without one.
fn account(option: &str, named: &Account) -> Result<Option<User>, UserError> {
    let found = match number(named) {
        Some(number) => return Ok(User::from_uid(Uid::from_raw(number)).ok().flatten()),
        None => User::from_name(named.as_str()),
    };
    match found {
        Ok(Some(user)) => Ok(Some(user)),
        Ok(None) | Err(_) => Err(UserError::NoUser(option.to_owned(), named.clone())),
    }
}

/// # Errors
/// There is no such user.
pub fn user_number(option: &str, named: &Account) -> Result<u32, UserError> {
    match (account(option, named)?, number(named)) {
        (Some(user), _) => Ok(user.uid.as_raw()),
        (None, Some(number)) => Ok(number),
        (None, None) => Err(UserError::NoUser(option.to_owned(), named.clone())),
    }
}

/// # Errors
/// There is no such group.
pub fn group_number(option: &str, named: &Account) -> Result<u32, UserError> {
    if let Some(number) = number(named) {
        return Ok(number);
    }
    match Group::from_name(named.as_str()) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) | Err(_) => Err(UserError::NoGroup(option.to_owned(), named.clone())),
    }
}

/// All groups of an account whose own is `gid`.
///
/// # Errors
/// The accounts can't be read.
pub fn groups_of(option: &str, account: &User, gid: u32) -> Result<Vec<u32>, UserError> {
    let unknown = |error| UserError::Groups(option.to_owned(), account.name.clone(), error);
    let name = CString::new(account.name.as_str()).map_err(|_| unknown(nix::Error::EINVAL))?;
    let groups = getgrouplist(&name, Gid::from_raw(gid)).map_err(unknown)?;
    Ok(groups.into_iter().map(Gid::as_raw).collect())
}
