// Package terminal is what a command has that runs in a terminal of its own: see
// builder.Cmd.Terminal.
package terminal

// Terminal is a terminal (a pty) that a command has as its three standard files: what it
// writes comes to Stdout of its builder.Cmd, and Stdin is what is typed, at whose end the terminal's
// end-of-file character is typed. Stderr is not used. A terminal that the caller has
// itself stays as it is; who passes it on will want it in raw mode.
type Terminal struct {
	Size Size // at first
	// Resized gives later sizes while the command runs; it may be nil.
	Resized <-chan Size
}

// Size is the size of a terminal in characters; 0 is unknown.
type Size struct{ Rows, Columns uint16 }
