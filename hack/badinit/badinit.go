// Package badinit stands for a package of an embedder's program whose init function must not
// run a second time. Tests import it.
package badinit

import (
	"fmt"
	"os"
)

// Env says what the init function does: one of the Kinds. The worker of a Builder is given
// variables of this prefix.
const Env = "XDG_OAKUM_TEST_INIT"

// The values of Env.
const (
	Prints = "prints"
	Exits  = "exits"
	Panics = "panics"
	Hangs  = "hangs"
)

func init() {
	switch os.Getenv(Env) {
	case Prints:
		fmt.Println("badinit: hello")
	case Exits:
		fmt.Println("badinit: CONFIG_FILE is not set")
		os.Exit(3)
	case Panics:
		panic("badinit: no reason")
	case Hangs:
		fmt.Fprintln(os.Stderr, "badinit: connecting")
		select {}
	}
}
