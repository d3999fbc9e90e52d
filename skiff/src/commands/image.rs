//! `skiff image load` and `skiff image ls`.

use super::need_root;
use crate::cli::{ImageLoad, ImageLs};
use crate::containerd::Tools;
use crate::images::{self, Input};
use crate::layout::Layout;
use crate::nested;
use crate::process::Daemon;
use crate::settings::Settings;

fn running(layout: &Layout) -> Result<Tools, String> {
    need_root()?;
    if Daemon::from_file(&layout.pid_file("containerd")).is_none() {
        return Err("containerd does not run: `skiff up` starts it".into());
    }
    Tools::find()
}

pub fn load(args: &ImageLoad) -> Result<(), String> {
    let layout = args.instance.layout()?;
    let tools = running(&layout)?;
    for file in &args.files {
        print!("{}", images::import(&tools, &layout, &file.display().to_string(), Input::File(file))?);
    }
    images::write_out(&layout)?;
    // A pod may land on any node of this machine.
    let settings = Settings::load(&layout)?.unwrap_or_default();
    for node in nested::existing(&layout, &settings) {
        if Daemon::from_file(&node.layout.pid_file("containerd")).is_none() {
            continue;
        }
        for file in &args.files {
            images::import(&tools, &node.layout, &file.display().to_string(), Input::File(file))?;
        }
        images::write_out(&node.layout)?;
    }
    Ok(())
}

pub fn list(args: &ImageLs) -> Result<(), String> {
    let layout = args.instance.layout()?;
    let tools = running(&layout)?;
    // The runtime names every image by its ID too; people look for names.
    for name in images::present(&tools, &layout)?.iter().filter(|n| !n.starts_with("sha256:")) {
        println!("{name}");
    }
    Ok(())
}
