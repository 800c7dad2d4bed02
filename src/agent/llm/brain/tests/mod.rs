mod answers;
mod random;
mod rig;
mod speech;
mod tools;
