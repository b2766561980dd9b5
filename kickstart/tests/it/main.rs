//! Tests of the kickstart language against pykickstart, of the files for our roles, and of the templates.

mod commands;
mod files;
mod oracle;
mod problems;
mod readme;
mod roles;
mod templates;
