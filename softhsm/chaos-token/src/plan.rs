//! The plan: which faults are injected into which calls. This file has its types and its parser; `plan_file` reads it.

use std::path::PathBuf;
use std::time::Duration;

use cryptoki_sys::*;

use crate::device_limits::DeviceLimits;
use crate::key_generation_plan::{self, KeyGenerationPlan};
use crate::login_rules::LoginRules;
use crate::outage::OutageRules;
use crate::persona;
use crate::rule::{Calls, Delay, Rule, Verdict};
use crate::template_rules::TemplateRules;
use crate::words::{
    attribute_named, code_named, duration, flag_named, key_type_named, mechanism_named, number,
    user_type, without_comment,
};

/// The form in which a signature is returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SignatureForm {
    #[default]
    Unchanged,
    /// One bit is flipped.
    Wrong,
    /// ECDSA as DER instead of r‖s.
    Der,
    /// ECDSA without the leading zeros that both halves have.
    Short,
}

/// What a session without a login of its own refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PerSession {
    /// Each operation on objects; C_GetSessionInfo says the state of the application.
    Objects,
    /// The same, and C_GetSessionInfo says the state of the session.
    ObjectsAndState,
    /// Signatures only.
    Signatures,
}

/// A state of the module that no C_Initialize clears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LostState {
    /// What each call returns.
    pub(crate) code: CK_RV,
    /// C_Initialize returns it too; otherwise that and C_Finalize succeed.
    pub(crate) initialize: bool,
}

/// A value that private keys report, whatever their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) attribute: CK_ATTRIBUTE_TYPE,
    pub(crate) value: bool,
    /// Keys of this type only.
    pub(crate) key_type: Option<CK_KEY_TYPE>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    rules: Vec<Rule>,
    /// The number of wrong PINs that locks the token.
    pub(crate) pin_tries: Option<u32>,
    /// CKF_ flags that are reported in addition to the token's.
    pub(crate) flags: CK_FLAGS,
    /// CKF_ flags of the token that are not reported.
    pub(crate) hidden_flags: CK_FLAGS,
    /// The number of sessions, and what C_OpenSession returns beyond it.
    pub(crate) max_sessions: Option<(u64, CK_RV)>,
    /// Mechanisms that are neither listed nor supported.
    pub(crate) hidden_mechanisms: Vec<CK_MECHANISM_TYPE>,
    /// Mechanisms that are listed and not supported.
    pub(crate) refused_mechanisms: Vec<CK_MECHANISM_TYPE>,
    pub(crate) signature: SignatureForm,
    /// Calls that never return.
    hangs: Vec<Rule>,
    delays: Vec<Delay>,
    /// The token closes a session that is idle for longer.
    pub(crate) idle_timeout: Option<Duration>,
    /// The token is removed.
    pub(crate) removed: bool,
    /// A state that only a new process clears.
    pub(crate) lost: Option<LostState>,
    /// The offset that is added to each slot's number.
    pub(crate) slot_id_offset: CK_SLOT_ID,
    /// Private keys need a context-specific login for each signature.
    pub(crate) always_authenticate: bool,
    /// Token, slot and module describe themselves as a hardware device.
    pub(crate) device: bool,
    pub(crate) claims: Vec<Claim>,
    /// The CK_USER_TYPE of the role that is the wrapped module's user.
    pub(crate) user_type: Option<CK_USER_TYPE>,
    /// The user's PIN is the empty one; this file has that of the wrapped module.
    pub(crate) empty_pin: Option<PathBuf>,
    /// The module authenticates by itself, and C_Login takes any PIN; this file has that of the wrapped module.
    pub(crate) authenticates: Option<PathBuf>,
    /// The name that C_LoginUser takes. C_Login refuses every PIN then.
    pub(crate) user_name: Option<String>,
    /// The interface of version 3.0 is not the default one.
    pub(crate) version_3_on_request: bool,
    /// A login is for its session only.
    pub(crate) login_per_session: Option<PerSession>,
    /// The token's serial number.
    pub(crate) serial: Option<String>,
    /// The token's label.
    pub(crate) label: Option<String>,
    /// What C_GenerateKeyPair takes.
    pub(crate) key_generation: KeyGenerationPlan,
    pub(crate) templates: TemplateRules,
    pub(crate) logins: LoginRules,
    pub(crate) limits: DeviceLimits,
    pub(crate) outage: OutageRules,
    /// Attributes of which C_GetAttributeValue reports nothing, and leaves the buffer as it is.
    pub(crate) silent_attributes: Vec<CK_ATTRIBUTE_TYPE>,
    /// The code that C_OpenSession returns for a read-only session.
    pub(crate) no_read_only_sessions: Option<CK_RV>,
    /// Every session is read-write, whatever was asked for.
    pub(crate) read_only_ignored: bool,
    /// The code that C_SignInit returns in a read-only session.
    pub(crate) no_read_only_signatures: Option<CK_RV>,
    /// manufacturerID of the module.
    pub(crate) manufacturer: Option<String>,
    /// libraryDescription.
    pub(crate) description: Option<String>,
    /// The seed of arbitrary bytes in the information structures.
    pub(crate) scramble: Option<u64>,
    /// The process is aborted in the module's exit handler.
    pub(crate) crash_at_exit: bool,
    /// The delay of the end of each thread that made a call.
    pub(crate) thread_exit_delay: Duration,
}

impl Plan {
    /// How long this call is delayed.
    pub(crate) fn delay(&self, function: &str, number: u64) -> Duration {
        let applies = |delay: &&Delay| {
            let named = delay.function.as_deref();
            named.is_none_or(|named| named == function) && delay.calls.contain(number)
        };
        self.delays
            .iter()
            .filter(applies)
            .map(|delay| delay.time)
            .sum()
    }

    /// Whether this call never returns.
    pub(crate) fn hangs(&self, function: &str, number: u64) -> bool {
        self.hangs
            .iter()
            .any(|rule| rule.applies_to(function, number))
    }

    /// The outcome of this call.
    pub(crate) fn verdict(&self, function: &str, number: u64) -> Verdict {
        let rule = self
            .rules
            .iter()
            .find(|rule| rule.applies_to(function, number));
        rule.map_or(Verdict::Pass, |rule| rule.verdict)
    }
}

/// Parses a plan; the README has its grammar.
pub(crate) fn parse(text: &str) -> Result<Plan, String> {
    let mut plan = Plan::default();
    for (index, line) in text.lines().enumerate() {
        let words: Vec<_> = without_comment(line).split_whitespace().collect();
        parse_line(&mut plan, &words).map_err(|why| format!("plan, line {}: {why}", index + 1))?;
    }
    Ok(plan)
}

fn parse_line(plan: &mut Plan, words: &[&str]) -> Result<(), String> {
    match words {
        [] => {}
        ["fail", function, calls, code] => {
            let code = code_named(code)?;
            plan.rules
                .push(Rule::parse(function, calls, Verdict::Fail(code))?);
        }
        ["crash", function, calls] => {
            plan.rules
                .push(Rule::parse(function, calls, Verdict::Crash)?)
        }
        ["pin-tries", count] => plan.pin_tries = Some(number(count)?),
        ["flag", flag] => plan.flags |= flag_named(flag)?,
        ["max-sessions", count] => parse_line(plan, &["max-sessions", count, "CKR_SESSION_COUNT"])?,
        ["max-sessions", count, code] => {
            plan.max_sessions = Some((number(count)?, code_named(code)?));
        }
        ["without", flag] if flag.starts_with("CKF_") => plan.hidden_flags |= flag_named(flag)?,
        ["without", mechanism] => plan.hidden_mechanisms.push(mechanism_named(mechanism)?),
        ["refuse", mechanism] => plan.refused_mechanisms.push(mechanism_named(mechanism)?),
        ["signature", "wrong"] => plan.signature = SignatureForm::Wrong,
        ["signature", "der"] => plan.signature = SignatureForm::Der,
        ["signature", "short"] => plan.signature = SignatureForm::Short,
        ["crash", "exit"] => plan.crash_at_exit = true,
        ["delay", "thread-exit", time] => plan.thread_exit_delay = duration(time)?,
        ["delay", "all", time] => plan.delays.push(Delay {
            function: None,
            calls: Calls::ALL,
            time: duration(time)?,
        }),
        ["delay", function, time] => parse_line(plan, &["delay", function, "all", time])?,
        ["delay", function, calls, time] => {
            let Rule {
                function, calls, ..
            } = Rule::parse(function, calls, Verdict::Pass)?;
            plan.delays.push(Delay {
                function: Some(function),
                calls,
                time: duration(time)?,
            });
        }
        ["hang", function, calls] => plan
            .hangs
            .push(Rule::parse(function, calls, Verdict::Pass)?),
        ["idle", time] => plan.idle_timeout = Some(duration(time)?),
        ["vanished"] => plan.removed = true,
        ["lost-until-new-process", code, more @ ..] if matches!(more, [] | ["initialize"]) => {
            plan.lost = Some(LostState {
                code: code_named(code)?,
                initialize: !more.is_empty(),
            });
        }
        ["slot-ids", offset] => plan.slot_id_offset = number(offset)?,
        [
            "claim",
            attribute,
            value @ ("true" | "false"),
            key_type @ ..,
        ] if key_type.len() < 2 => {
            let key_type = key_type.first().map(|name| key_type_named(name));
            plan.claims.push(Claim {
                attribute: attribute_named(attribute)?,
                value: *value == "true",
                key_type: key_type.transpose()?,
            });
        }
        ["user-type", role] => plan.user_type = Some(user_type(role)?),
        ["empty-pin", file] => plan.empty_pin = Some(file.into()),
        ["authenticates", file] => plan.authenticates = Some(file.into()),
        ["user-name", name] => plan.user_name = Some((*name).to_owned()),
        ["version-3", "on-request"] => plan.version_3_on_request = true,
        ["login-per-session"] => plan.login_per_session = Some(PerSession::Objects),
        ["login-per-session", "state"] => {
            plan.login_per_session = Some(PerSession::ObjectsAndState);
        }
        ["login-per-session", "signatures"] => {
            plan.login_per_session = Some(PerSession::Signatures);
        }
        ["serial", serial] => plan.serial = Some((*serial).to_owned()),
        ["label", label @ ..] => plan.label = Some(label.join(" ")),
        ["silent", attribute] => plan.silent_attributes.push(attribute_named(attribute)?),
        ["read-only-sessions", "not-opened", code] => {
            plan.no_read_only_sessions = Some(code_named(code)?);
        }
        ["read-only-sessions", "ignored"] => plan.read_only_ignored = true,
        ["read-only-sessions", "sign-not", code] => {
            plan.no_read_only_signatures = Some(code_named(code)?);
        }
        ["scramble-info", seed] => plan.scramble = Some(number(seed)?),
        ["device"] => plan.device = true,
        ["manufacturer", name @ ..] => plan.manufacturer = Some(name.join(" ")),
        ["description", name @ ..] => plan.description = Some(name.join(" ")),
        ["always-authenticate"] => plan.always_authenticate = true,
        ["persona", name] => {
            for line in persona::lines(name)? {
                let words: Vec<_> = line.split_whitespace().collect();
                parse_line(plan, &words)?;
            }
        }
        other => {
            let understood = plan.templates.parse_line(other)?
                || plan.logins.parse_line(other)?
                || plan.limits.parse_line(other)?
                || plan.outage.parse_line(other)?;
            if !understood {
                key_generation_plan::parse_line(&mut plan.key_generation, other)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
