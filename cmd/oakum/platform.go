package main

import (
	"cmp"
	"os"
	"runtime"
	"strings"

	"github.com/urfave/cli/v2"
)

const platformVariable = "DOCKER_DEFAULT_PLATFORM"

// platformFlags choose a platform; do is what is done for it, such as "build for".
func platformFlags(do string) []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "platform", EnvVars: []string{platformVariable}, Usage: do + " the platform `OS/ARCH[/VARIANT]` (default: this machine's); its programs run if binfmt_misc has an emulator for them"},
		&cli.StringFlag{Name: "arch", Usage: do + " the architecture `ARCH`; with --os and --variant another way to write --platform"},
		&cli.StringFlag{Name: "os", Usage: do + " the operating system `OS`"},
		&cli.StringFlag{Name: "variant", Usage: do + " the `VARIANT` of the architecture"},
	}
}

// platform reads --platform, or buildah's flags for its parts.
func platform(c *cli.Context) (string, error) {
	parts := c.IsSet("os") || c.IsSet("arch") || c.IsSet("variant")
	if !parts {
		return onePlatform(values(c, "platform"))
	}
	if c.IsSet("platform") && os.Getenv(platformVariable) == "" {
		return "", usagef("--platform excludes --os, --arch and --variant")
	}
	text := cmp.Or(c.String("os"), runtime.GOOS) + "/" + cmp.Or(c.String("arch"), runtime.GOARCH)
	if v := c.String("variant"); v != "" {
		text += "/" + v
	}
	return text, nil
}

// onePlatform reads --platform. An image for several is an index, which is made of images.
func onePlatform(list []string) (string, error) {
	platforms := strings.Split(strings.Join(list, ","), ",")
	if len(platforms) > 1 {
		return "", usagef("--platform %s: only one platform at a time is supported yet", strings.Join(platforms, ","))
	}
	return platforms[0], nil
}
