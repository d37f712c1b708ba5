// Command bases makes the base images of package baseimage and serves them.
//
//	bases make                  make the images that are missing
//	bases serve [-listen ADDR]  serve them until interrupted; prints a registries.conf
//	bases run CMD [ARG...]      serve them while CMD runs, with the environment that
//	                            lets podman, buildah and oakum find them
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/oakum-build/oakum/hack/baseimage"
)

func main() {
	err := run(os.Args[1:])
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bases:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("bases", flag.ContinueOnError)
	cache := flags.String("cache", ".cache", "`directory` where the images are kept")
	listen := flags.String("listen", "127.0.0.1:0", "`address` of the registry")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	images, err := baseimage.Make(ctx, *cache)
	if err != nil || flags.Arg(0) == "make" {
		return err
	}
	address, err := baseimage.Serve(ctx, images, *listen)
	if err != nil {
		return err
	}
	switch {
	case flags.Arg(0) == "serve":
		fmt.Print(baseimage.RegistriesConf(address))
		<-ctx.Done()
		return nil
	case flags.Arg(0) == "run" && flags.NArg() > 1:
		return runWith(address, flags.Args()[1:])
	}
	return errors.New("usage: bases [-cache DIR] [-listen ADDR] make | serve | run CMD [ARG...]")
}

// runWith runs a command that finds the images at address. Signals reach the command
// from the terminal, so that it decides when to end.
func runWith(address string, args []string) error {
	dir, err := os.MkdirTemp("", "oakum-bases-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	conf := filepath.Join(dir, "registries.conf")
	// Another user may have to read it.
	if err := errors.Join(os.Chmod(dir, 0o755),
		os.WriteFile(conf, []byte(baseimage.RegistriesConf(address)), 0o644)); err != nil {
		return err
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "CONTAINERS_REGISTRIES_CONF="+conf, "OAKUM_TEST_REGISTRY="+address)
	return cmd.Run()
}
