package main

import (
	"slices"

	"github.com/urfave/cli/v2"
)

// The kinds of flags that there are many of, which say their names as they are written. Those of urfave/cli match a
// regular expression for each name each time that they are asked, and before a command runs they are asked as often as
// the square of their number: with the flags of build that takes 2 ms, a seventh of a rebuild without changes.
type (
	boolFlag struct {
		*cli.BoolFlag
		names []string
	}
	stringFlag struct {
		*cli.StringFlag
		names []string
	}
	stringSliceFlag struct {
		*cli.StringSliceFlag
		names []string
	}
)

func (f *boolFlag) Names() []string        { return f.names }
func (f *stringFlag) Names() []string      { return f.names }
func (f *stringSliceFlag) Names() []string { return f.names }

// IsSet is asked by cli.Context.IsSet for flags that are not on the command line, and would say that the flag's variable
// sets it. But a variable yields to what excludes its flag: it may be there for another command.
func (f *stringFlag) IsSet() bool      { return false }
func (f *stringSliceFlag) IsSet() bool { return false }

// withNames gives the same flags, of these kinds where there is one for them.
func withNames(flags []cli.Flag) []cli.Flag {
	quick := slices.Clone(flags)
	for i, f := range flags {
		switch f := f.(type) {
		case *cli.BoolFlag:
			quick[i] = &boolFlag{f, append([]string{f.Name}, f.Aliases...)}
		case *cli.StringFlag:
			quick[i] = &stringFlag{f, append([]string{f.Name}, f.Aliases...)}
		case *cli.StringSliceFlag:
			quick[i] = &stringSliceFlag{f, append([]string{f.Name}, f.Aliases...)}
		}
	}
	return quick
}
