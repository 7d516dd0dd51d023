//! What must be true of the tree: folder = crate, what each crate contains, and the edges between crates.

mod edges;
mod layout;

use anyhow::bail;

use crate::workspace::Workspace;

/// Reports everything in the tree that is not as it must be.
pub(crate) fn run() -> anyhow::Result<()> {
    let workspace = Workspace::load()?;
    let problems = problems(&workspace);
    for problem in &problems {
        eprintln!("structure: {problem}");
    }
    if !problems.is_empty() {
        bail!("{} of the rules in xtask/src/structure are broken", problems.len());
    }
    Ok(())
}

fn problems(workspace: &Workspace) -> Vec<String> {
    let mut problems = layout::problems(workspace);
    problems.extend(edges::problems(workspace));
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules hold for the tree that contains them.
    #[test]
    fn this_tree_keeps_the_rules() {
        let workspace = Workspace::load().unwrap();
        assert!(workspace.packages.len() > 10, "only {} packages were found", workspace.packages.len());
        assert_eq!(problems(&workspace), Vec::<String>::new());
    }
}
