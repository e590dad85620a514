//! Each obstacle is named with its remedy, and nothing that is no obstacle.

use super::{Circumstances, Denied, check_limit};

#[test]
fn each_obstacle_is_named_with_what_to_change() {
    let fine = Circumstances {
        errno: Some(libc::EPERM),
        unprivileged_clone: Some(1),
        apparmor_restricts: Some(0),
        max_user_namespaces: Some(100),
        max_net_namespaces: None,
        kernel_has_them: true,
        has_threads: true,
        has_seccomp_filter: false,
    };
    let cases = [
        (fine.clone(), ""),
        (Circumstances { unprivileged_clone: Some(0), ..fine.clone() }, "sysctl kernel.unprivileged_userns_clone=1"),
        (Circumstances { apparmor_restricts: Some(1), ..fine.clone() }, "apparmor_restrict_unprivileged_userns=0"),
        (Circumstances { max_user_namespaces: Some(0), ..fine.clone() }, "sysctl user.max_user_namespaces="),
        (Circumstances { max_net_namespaces: Some(0), ..fine.clone() }, "sysctl user.max_net_namespaces="),
        (Circumstances { kernel_has_them: false, ..fine.clone() }, "CONFIG_USER_NS"),
        (Circumstances { errno: Some(libc::EINVAL), ..fine.clone() }, "please report"),
        (Circumstances { has_seccomp_filter: true, ..fine.clone() }, "--privileged"),
    ];
    for (circumstances, remedy) in cases {
        let causes = circumstances.causes();
        let expected = if remedy.is_empty() { 1 } else { 2 };
        assert_eq!(causes.len(), expected, "{circumstances:?}: {causes:?}");
        assert!(causes[0].contains(remedy), "{remedy}: {causes:?}");
        assert_eq!(causes[expected - 1], "or run it as root");
    }
}

#[test]
fn root_is_told_of_the_limit_that_binds_it_too() {
    assert!(check_limit(Some(1)).is_ok() && check_limit(None).is_ok());
    let denied = check_limit(Some(0)).expect_err("none are allowed").to_string();
    assert!(denied.contains("sysctl user.max_net_namespaces=") && !denied.contains("root"), "{denied}");
}

#[test]
fn a_denial_reads_as_what_happened_and_then_what_to_do() {
    let denied =
        Denied { refused: "create a user namespace: EPERM".into(), causes: vec!["do this".into(), "or that".into()] };
    let text = "cannot make network namespaces here: create a user namespace: EPERM\n  - do this\n  - or that";
    assert_eq!(denied.to_string(), text);
}
