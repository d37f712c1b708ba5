//go:build linux

// Command environments runs a command in one of the environments that oakum has to work in:
// containers of root and of an ordinary user, with what Docker, Podman and Kubernetes give
// them, and processes from which something is taken. In each there are busybox, bin/oakum in
// PATH, the examples in /examples, and the base images under their usual names.
//
//	go run ./hack/environments -list
//	go run ./hack/environments docker oakum build -t hello /examples/multistage-go
//	go run ./hack/environments -volume /tmp/context:/context restricted sh
//
// The tests beside it build images in each of them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

func main() {
	code, err := runMain()
	if err != nil {
		fmt.Fprintln(os.Stderr, "environments:", err)
	}
	os.Exit(code)
}

func runMain() (code int, err error) {
	list := flag.Bool("list", false, "list the environments")
	volume := flag.String("volume", "", "a `SOURCE:TARGET[:OPTIONS]` to mount into a container")
	flag.Parse()
	if *list {
		for _, e := range environments {
			fmt.Printf("%-16s %s\n", e.name, e.what)
		}
		return 0, nil
	}
	if flag.NArg() < 2 {
		return 2, errors.New("usage: environments [-volume SOURCE:TARGET] ENVIRONMENT COMMAND [ARG...]; -list lists the environments")
	}
	e, err := find(flag.Arg(0))
	if err != nil {
		return 2, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	checkout, err := os.Getwd()
	if err != nil {
		return 1, err
	}
	w, err := newWorld(ctx, checkout)
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	var flags []string
	if *volume != "" {
		flags = []string{"--volume", *volume}
	}
	return w.try(e, flags, flag.Args()[1:])
}

// try runs one command in an environment and returns its exit status.
func (w *world) try(e environment, flags, args []string) (code int, err error) {
	p, err := w.start(e, flags...)
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	cmd := p.command(w.ctx, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}
