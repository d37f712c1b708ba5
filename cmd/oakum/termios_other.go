//go:build !linux

package main

import "golang.org/x/sys/unix"

// The requests by which a terminal's settings are read and written.
const getTermios, setTermios = unix.TIOCGETA, unix.TIOCSETA
