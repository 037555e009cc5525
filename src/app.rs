//! Build, bind, run, drain: the only file that knows every module.
