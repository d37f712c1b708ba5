package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder/foreign"
	"github.com/oakum-build/oakum/builder/isolation"
	"github.com/oakum-build/oakum/builder/limits"
)

func rightsFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "cap-add", Usage: "give commands the capability `NAME` beside Docker's usual ones, with or without CAP_, or ALL; repeatable"},
		&cli.StringSliceFlag{Name: "cap-drop", Usage: "take the capability `NAME` from commands, or ALL; repeatable"},
		&cli.StringSliceFlag{Name: "security-opt", Usage: "`OPTION` seccomp=FILE, a system-call filter in Docker's JSON, or seccomp=unconfined; no-new-privileges; mask=PATH[:PATH]; unmask=ALL|PATH[:PATH]; label=...; apparmor=PROFILE; repeatable"},
		&cli.StringSliceFlag{Name: "device", Usage: "`PATH[:PATH-IN-THE-COMMAND[:rwm]]` let commands use a device of this machine; repeatable"},
		&cli.StringSliceFlag{Name: "group-add", Usage: "let the command's user be in the group `GROUP` too, a number or a name in the image's /etc/group; repeatable"},
	}
}

// readRights reads rightsFlags.
func readRights(c *cli.Context, opts *isolation.Options) error {
	s := &opts.Security
	for flag, to := range map[string]*[]string{"cap-add": &s.Add, "cap-drop": &s.Drop} {
		*to = listed(c, flag)
		for _, name := range *to {
			if err := checkCapability(flag, name); err != nil {
				return err
			}
		}
	}
	if err := s.Check(); err != nil {
		return usagef("--cap-add, --cap-drop: %s", plain(err))
	}
	for _, text := range values(c, "security-opt") {
		if err := readSecurityOption(c.Context, s, text); err != nil {
			return err
		}
		if err := s.Check(); err != nil {
			return unfit("security-opt", text, err)
		}
	}
	for _, text := range listed(c, "device") {
		device, err := isolation.ParseDevice(text)
		if err != nil {
			return usagef("--%s", plain(err))
		}
		if _, err := os.Stat(device.Path); err != nil {
			return fmt.Errorf("--device %s: %w", text, err)
		}
		opts.Devices = append(opts.Devices, text)
	}
	for _, text := range listed(c, "group-add") {
		opts.Groups = append(opts.Groups, text)
		if err := opts.Check(); err != nil {
			return unfit("group-add", text, err)
		}
	}
	return nil
}

// checkCapability checks a name of --cap-add or --cap-drop.
func checkCapability(flag, name string) error {
	known := isolation.AllCapabilities()
	full := "CAP_" + strings.TrimPrefix(strings.ToUpper(name), "CAP_")
	if full == "CAP_"+isolation.All || slices.Contains(known, full) {
		return nil
	}
	err := usagef("--%s: there is no capability %q; capabilities(7) lists them", flag, name)
	err.hint = strings.Replace(didYouMean(full, known), "CAP_", "", 1)
	return err
}

// securityForms are what --security-opt knows.
const securityForms = "seccomp=FILE|unconfined|builtin, no-new-privileges[=true|false], mask=PATH[:PATH], unmask=ALL|PATH[:PATH], label=OPTION or apparmor=PROFILE"

// readSecurityOption reads one --security-opt, of docker, podman or buildah; after the name = or,
// in the older form, a colon.
func readSecurityOption(ctx context.Context, s *isolation.Security, text string) error {
	name, value := text, ""
	if i := strings.IndexAny(text, "=:"); i >= 0 {
		name, value = text[:i], text[i+1:]
	}
	if value == "" && name != "no-new-privileges" {
		return unknownSecurityOption(text, name)
	}
	switch name {
	case "seccomp":
		return readSeccomp(ctx, s, value)
	case "no-new-privileges":
		switch value {
		case "", "true":
			s.NoNewPrivileges = true
		case "false":
			s.NoNewPrivileges = false
		default:
			return usagef("--security-opt %q: no-new-privileges is true or false", text)
		}
	case "mask":
		s.Mask = append(s.Mask, strings.Split(value, ":")...)
	case "unmask":
		s.Unmask = append(s.Unmask, strings.Split(value, ":")...)
	case "systempaths":
		if value != isolation.Unconfined {
			return usagef("--security-opt %q: systempaths is unconfined, or as it always is", text)
		}
		s.Unmask = append(s.Unmask, isolation.All)
	case "label":
		if value != "disable" { // which is so without options
			s.Label = append(s.Label, value)
		}
	case "apparmor":
		if s.AppArmor = value; value == isolation.Unconfined { // so it is
			s.AppArmor = ""
		}
	default:
		return unknownSecurityOption(text, name)
	}
	return nil
}

func unknownSecurityOption(text, name string) error {
	err := usagef("--security-opt %q is not known: it is %s", text, securityForms)
	known := []string{"seccomp", "no-new-privileges", "mask", "unmask", "label", "apparmor"}
	if !slices.Contains(known, name) {
		err.hint = didYouMean(name, known)
	}
	return err
}

// readSeccomp reads the filter of seccomp=VALUE.
func readSeccomp(ctx context.Context, s *isolation.Security, value string) error {
	switch value {
	case isolation.Unconfined:
		s.Seccomp = isolation.Unconfined
	case "builtin", "default":
		s.Seccomp = ""
	default:
		text, err := foreign.ReadNamed(ctx, value, limits.MaxSeccomp)
		if hint := didYouMean(value, []string{isolation.Unconfined, "builtin"}); hint != "" && errors.Is(err, fs.ErrNotExist) {
			err := usagef("--security-opt seccomp=%s: there is no such file", value)
			err.hint = hint
			return err
		}
		if err != nil {
			return fmt.Errorf("--security-opt seccomp=%s: %w", value, err)
		}
		if len(text) == 0 {
			return fmt.Errorf("--security-opt seccomp=%s: %w", value, errors.New("the file is empty"))
		}
		s.Seccomp = string(text)
	}
	return nil
}
