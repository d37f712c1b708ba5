package main

import (
	"slices"
	"testing"

	"github.com/urfave/cli/v2"
)

func TestNamesOfFlags(t *testing.T) {
	app := testApp()
	commands := map[string][]cli.Flag{app.Name: app.Flags}
	for _, cmd := range app.Commands {
		commands[cmd.Name] = cmd.Flags
	}
	for command, flags := range commands {
		for _, f := range flags {
			var usual cli.Flag
			switch f := f.(type) {
			case *boolFlag:
				usual = f.BoolFlag
			case *stringFlag:
				usual = f.StringFlag
			case *stringSliceFlag:
				usual = f.StringSliceFlag
			case *cli.BoolFlag, *cli.StringFlag, *cli.StringSliceFlag:
				t.Errorf("%s --%s takes long to say its names", command, f.Names()[0])
				continue
			default:
				continue
			}
			if want := usual.Names(); !slices.Equal(f.Names(), want) {
				t.Errorf("%s --%s has the names %q, not %q", command, want[0], f.Names(), want)
			}
		}
	}
}
