package main

import (
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/dockerfile"
)

// notWritten is why a volume that a command may write to is refused.
const notWritten = "what a command writes never reaches this machine's files"

// readVolumes reads --volume, HOST-PATH:TARGET[:OPTIONS] of docker, podman and buildah.
func readVolumes(texts []string) ([]builder.Mount, error) {
	var mounts []builder.Mount
	for _, text := range texts {
		m, err := readVolume(text)
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, m)
	}
	return mounts, nil
}

func readVolume(text string) (builder.Mount, error) {
	parts := strings.Split(text, ":")
	if len(parts) < 2 || len(parts) > 3 || parts[0] == "" || parts[1] == "" {
		err := notA("volume", text, "HOST-PATH:TARGET:OPTIONS", "--volume ./data:/data:ro")
		if len(parts) == 1 {
			err.hint = "an empty directory is --mount type=tmpfs,target=" + text
		}
		return builder.Mount{}, err
	}
	host, target, options := parts[0], parts[1], ""
	if len(parts) == 3 {
		options = parts[2]
	}
	if !filepath.IsAbs(host) && !strings.HasPrefix(host, ".") {
		err := usagef("--volume %q: there are no volumes with a name", text)
		err.hint = fmt.Sprintf("--mount type=cache,id=%s,target=%s is a directory that is kept; a path begins with / or .", host, target)
		return builder.Mount{}, err
	}
	if !path.IsAbs(target) {
		return builder.Mount{}, usagef("--volume %q: the target %q is not an absolute path", text, target)
	}
	readOnly, err := volumeOptions(text, options)
	if err != nil {
		return builder.Mount{}, err
	}
	src, err := dockerfile.HostFiles(host)
	if err != nil {
		return builder.Mount{}, fmt.Errorf("--volume %s: %w", text, err)
	}
	return builder.Mount{Target: target, From: src, ReadOnly: readOnly}, nil
}

// volumeOptions reads the options of a volume. Those that are passed over say how mounts that
// come later reach each other, or what a file may do that is on it; SELinux has no label for a
// command that the files would need one for.
func volumeOptions(text, options string) (readOnly bool, err error) {
	thrown := false
	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "ro", "readonly":
			readOnly = true
		case "O":
			thrown = true
		case "", "z", "Z", "private", "rprivate", "nocopy", "cached", "delegated", "consistent", "nosuid", "nodev", "suid", "exec", "bind", "rbind":
		case "rw":
		case "U", "shared", "rshared", "slave", "rslave", "noexec", "dev", "copy", "idmap":
			return false, usagef("--volume %q: the option %s is not supported: %s", text, option, volumeForms)
		default:
			return false, usagef("--volume %q: the option %q is not known: %s", text, option, volumeForms)
		}
	}
	if readOnly == thrown { // neither, or a contradiction
		err := usagef("--volume %q: %s", text, notWritten)
		if readOnly {
			return false, usagef("--volume %q: ro and O exclude each other", text)
		}
		err.hint = "add :ro to read the files only, or :O to let what is written be thrown away; --mount type=cache,target=DIR is a directory that is kept"
		return false, err
	}
	return readOnly, nil
}

const volumeForms = "ro lets commands read the files only, and O lets what they write be thrown away"
