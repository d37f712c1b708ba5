package main

import (
	"context"
	"encoding/csv"
	"errors"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/mount"
	"github.com/oakum-build/oakum/dockerfile"
)

// runMountFlags are those of run for what its command sees over paths of the image.
func runMountFlags() []cli.Flag {
	return []cli.Flag{
		volumeFlag("the command see"),
		&cli.StringSliceFlag{Name: "mount", Usage: "`type=TYPE,target=PATH[,...]` a mount as RUN --mount has it: bind (source, of this machine or of the image from; rw, then what is written is thrown away), cache (id, sharing, from, source, mode, uid, gid), tmpfs (size, mode), secret (id, env, required, mode, uid, gid) or ssh; repeatable"},
		&cli.StringSliceFlag{Name: "tmpfs", Usage: "`PATH[:size=SIZE,mode=MODE]` an empty directory in memory; repeatable"},
		secretFlag("a secret, which the command sees in /run/secrets/ID unless a --mount of type=secret says where"),
		sshFlag("an ssh agent, whose socket SSH_AUTH_SOCK names to the command unless a --mount of type=ssh says where"),
	}
}

// volumeFlag is --volume; who is let see the files.
func volumeFlag(who string) cli.Flag {
	return &cli.StringSliceFlag{Name: "volume", Aliases: []string{"v"}, Usage: "`HOST-PATH:TARGET:ro|O` let " + who + " a file or directory of this machine: ro to read, O to write too, which is thrown away; repeatable"}
}

// readRunMounts reads runMountFlags.
func readRunMounts(c *cli.Context) ([]builder.Mount, error) {
	mounts, err := readVolumes(values(c, "volume"))
	if err != nil {
		return nil, err
	}
	for _, text := range values(c, "tmpfs") {
		mount, err := tmpfsMount(c.Context, text)
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, mount...)
	}
	secrets, err := readSecrets(values(c, "secret"))
	if err != nil {
		return nil, err
	}
	given := dockerfile.Credentials{Secrets: secrets}
	if given.SSH, err = readSSH(values(c, "ssh")); err != nil {
		return nil, err
	}
	more, err := given.Mounts(c.Context, values(c, "mount"))
	if err != nil {
		return nil, mountError(err)
	}
	return append(append(mounts, more...), usualMounts(secrets, given, more)...), nil
}

// usualMounts are those of secrets and of agents that no mount is of, when there is none of their type.
func usualMounts(secrets secrets, given dockerfile.Credentials, mounts []builder.Mount) []builder.Mount {
	var more []builder.Mount
	if !slices.ContainsFunc(mounts, func(m builder.Mount) bool { return m.Secret != nil }) {
		for _, id := range slices.Sorted(maps.Keys(secrets)) {
			read := func(ctx context.Context) ([]byte, error) { return secrets.Secret(ctx, id) }
			more = append(more, builder.Mount{Target: "/run/secrets/" + path.Base(id), Secret: &mount.Secret{Read: read}})
		}
	}
	if !slices.ContainsFunc(mounts, func(m builder.Mount) bool { return m.SSH != nil }) {
		for _, id := range slices.Sorted(maps.Keys(given.SSH)) {
			more = append(more, builder.Mount{SSH: &mount.SSH{Socket: given.SSH[id].Socket, Keys: given.SSH[id].Keys}})
		}
	}
	return more
}

// mountError is an error of package dockerfile of a mount that stands on the command line.
func mountError(err error) *usageError {
	usage := usagef("%s", strings.TrimPrefix(plain(err), "RUN "))
	var advising interface{ Hint() string }
	if errors.As(err, &advising) {
		usage.hint = advising.Hint()
	}
	return usage
}

// tmpfsMount reads --tmpfs PATH[:OPTIONS].
func tmpfsMount(ctx context.Context, text string) ([]builder.Mount, error) {
	target, options, _ := strings.Cut(text, ":")
	if !path.IsAbs(target) {
		return nil, notA("tmpfs", text, "PATH[:OPTIONS] with an absolute path", "--tmpfs /run:size=64m")
	}
	fields := []string{"type=tmpfs", "target=" + target}
	for option := range strings.SplitSeq(options, ",") {
		key, _, _ := strings.Cut(option, "=")
		switch key {
		case "", "rw", "nosuid", "nodev", "exec": // they are so
		case "size", "mode":
			fields = append(fields, option)
		default:
			return nil, usagef("--tmpfs %q: %q is none of size=SIZE and mode=MODE", text, option)
		}
	}
	var mount strings.Builder
	words := csv.NewWriter(&mount)
	if err := words.Write(fields); err != nil {
		return nil, err
	}
	words.Flush()
	mounts, err := dockerfile.Credentials{}.Mounts(ctx, []string{mount.String()})
	if err != nil {
		return nil, usagef("--tmpfs %q: size is a number with b, k, m or g behind it, and mode an octal number", text)
	}
	return mounts, nil
}
