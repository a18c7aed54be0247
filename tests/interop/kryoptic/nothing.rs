//! There is nothing here: the folder is for its dependency's module.
