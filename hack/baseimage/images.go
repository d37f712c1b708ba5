package baseimage

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
)

const (
	usualPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	hostCerts = "/etc/ssl/certs/ca-certificates.crt"
	passwd    = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n"
	group     = "root:x:0:\ndaemon:x:1:\nwww-data:x:33:\nnobody:x:65534:\n"
)

// busyboxImage is the host's static busybox, with a hard link for each applet.
func busyboxImage(ctx context.Context) (v1.Image, error) {
	binary, err := staticBusybox(ctx)
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	list, err := output(exec.CommandContext(ctx, binary, "--list"))
	if err != nil {
		return nil, err
	}
	files, err := layer(func(tw *tar.Writer) error { return putBusybox(tw, content, strings.Fields(list)) })
	if err != nil {
		return nil, err
	}
	return image(empty.Image, files, "busybox-static with its applets",
		v1.Config{Env: []string{"PATH=" + usualPath}, Cmd: []string{"sh"}})
}

// staticBusybox finds a busybox that runs in an empty root.
func staticBusybox(ctx context.Context) (string, error) {
	binary, err := exec.LookPath("busybox")
	if err != nil {
		return "", fmt.Errorf("%w; install it with: apt-get install busybox-static", err)
	}
	// ldd fails on what is not dynamically linked.
	if exec.CommandContext(ctx, "ldd", binary).Run() == nil {
		return "", fmt.Errorf("%s is not static; install it with: apt-get install busybox-static", binary)
	}
	return binary, nil
}

func putBusybox(tw *tar.Writer, binary []byte, applets []string) error {
	var errs []error
	for _, dir := range []string{"bin", "dev", "etc", "home", "proc", "sys", "usr", "usr/bin", "usr/sbin", "var", "var/www"} {
		errs = append(errs, putDir(tw, dir, 0o755))
	}
	errs = append(errs,
		putDir(tw, "root", 0o700),
		putDir(tw, "tmp", 0o1777),
		putDir(tw, "var/tmp", 0o1777),
		putFile(tw, "etc/passwd", 0o644, []byte(passwd)),
		putFile(tw, "etc/group", 0o644, []byte(group)),
		putFile(tw, "etc/shadow", 0o600, []byte("root:*:::::::\n")),
		putFile(tw, "bin/busybox", 0o755, binary),
		tw.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "usr/bin/env", Linkname: "../../bin/env", Mode: 0o777, ModTime: created}))
	for _, applet := range applets {
		if applet == "busybox" {
			continue
		}
		errs = append(errs, tw.WriteHeader(&tar.Header{Typeflag: tar.TypeLink, Name: "bin/" + applet, Linkname: "bin/busybox", Mode: 0o755, ModTime: created}))
	}
	return errors.Join(errs...)
}

// mmdebstrap makes a Debian as a tar, and tries again when that fails: the network or a server may have failed for
// a moment.
func mmdebstrap(ctx context.Context, args ...string) error {
	args = append([]string{"--quiet", "--format=tar"}, args...)
	if os.Geteuid() != 0 {
		args = append(args, "--mode=unshare")
	}
	for tries := 1; ; tries++ {
		cmd := exec.CommandContext(ctx, "mmdebstrap", args...)
		cmd.Env = append(os.Environ(), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", created.Unix()))
		_, err := output(cmd)
		if err == nil || tries == 3 || ctx.Err() != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "trying again: %v\n", err)
	}
}

// debianImage is Debian 12 with apt and its sources, made by mmdebstrap. tmp holds
// its root file system while the image is in use.
func debianImage(ctx context.Context, tmp string) (v1.Image, error) {
	root := filepath.Join(tmp, "debian.tar")
	fmt.Fprintln(os.Stderr, "making debian:bookworm-slim with mmdebstrap (once; a minute or two)")
	err := mmdebstrap(ctx, "--variant=minbase",
		"--skip=output/dev",
		"--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-exclude=/usr/share/man/*",
		"--dpkgopt=path-exclude=/usr/share/locale/*",
		"bookworm", root,
		"deb http://deb.debian.org/debian bookworm main",
		"deb http://deb.debian.org/debian bookworm-updates main",
		"deb http://deb.debian.org/debian-security bookworm-security main")
	if err != nil {
		return nil, err
	}
	files, err := layer(func(tw *tar.Writer) error { return putTar(tw, root) })
	if err != nil {
		return nil, err
	}
	return image(empty.Image, files, "mmdebstrap --variant=minbase bookworm",
		v1.Config{Env: []string{"PATH=" + usualPath}, Cmd: []string{"bash"}})
}

// golangImage is base with the Go tree at goroot and the host's certificates, so
// that go can reach a module proxy.
func golangImage(base v1.Image, goroot, version string) (v1.Image, error) {
	certs, err := os.ReadFile(hostCerts)
	if err != nil {
		return nil, err
	}
	files, err := layer(func(tw *tar.Writer) error { return putGo(tw, goroot, certs) })
	if err != nil {
		return nil, err
	}
	return image(base, files, "Go "+version+" in /usr/local/go", v1.Config{
		Env: []string{
			"PATH=/go/bin:/usr/local/go/bin:" + usualPath,
			"GOLANG_VERSION=" + version,
			"GOTOOLCHAIN=local",
			"GOPATH=/go",
		},
		Cmd:        []string{"bash"},
		WorkingDir: "/go",
	})
}

func putGo(tw *tar.Writer, goroot string, certs []byte) error {
	return errors.Join(
		putDir(tw, "etc/ssl", 0o755),
		putDir(tw, "etc/ssl/certs", 0o755),
		putFile(tw, "etc/ssl/certs/ca-certificates.crt", 0o644, certs),
		putDir(tw, "go", 0o1777),
		putDir(tw, "go/bin", 0o1777),
		putDir(tw, "go/src", 0o1777),
		putTree(tw, goroot, "usr/local/go", "api", "doc", "misc", "test"))
}
