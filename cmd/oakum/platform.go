package main

import (
	"cmp"
	"runtime"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder/display"
)

const platformVariable = "DOCKER_DEFAULT_PLATFORM"

// platformFlags choose a platform; do is what is done for it, such as "build for".
func platformFlags(do string) []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "platform", EnvVars: []string{platformVariable}, Usage: do + " the platform `OS/ARCH[/VARIANT]` (default: this machine's); its programs run if binfmt_misc knows an emulator for them, or qemu-user-static is installed"},
		&cli.StringFlag{Name: "arch", Usage: do + " the architecture `ARCH`; with --os and --variant another way to write --platform"},
		&cli.StringFlag{Name: "os", Usage: do + " the operating system `OS`"},
		&cli.StringFlag{Name: "variant", Usage: do + " the `VARIANT` of the architecture"},
	}
}

// platform reads --platform, or buildah's flags for its parts, where one is chosen.
func platform(c *cli.Context) (string, error) {
	list, err := platforms(c)
	switch {
	case err != nil || len(list) == 0:
		return "", err
	case len(list) > 1:
		return "", usagef("--platform %s: only one can be chosen here", display.Line(strings.Join(list, ",")))
	}
	return list[0], nil
}

// platforms reads the same where there may be several.
func platforms(c *cli.Context) ([]string, error) {
	parts := c.IsSet("os") || c.IsSet("arch") || c.IsSet("variant")
	if !parts {
		return slices.DeleteFunc(strings.Split(strings.Join(values(c, "platform"), ","), ","), func(text string) bool { return text == "" }), nil
	}
	if c.IsSet("platform") {
		return nil, usagef("--platform excludes --os, --arch and --variant")
	}
	text := cmp.Or(c.String("os"), runtime.GOOS) + "/" + cmp.Or(c.String("arch"), runtime.GOARCH)
	if v := c.String("variant"); v != "" {
		text += "/" + v
	}
	return []string{text}, nil
}
