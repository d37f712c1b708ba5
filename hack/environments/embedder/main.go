//go:build linux

// Command embedder is a program that has builder in it, as a service in a container would: it pulls, assembles,
// commits and pushes an image, and prints what came of it as JSON.
//
//	embedder BASE DESTINATION
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/isolation"
)

// report is what is printed.
type report struct {
	Level   isolation.Level
	Digest  string // of the image
	Pushed  string
	Pulled  string // its id, when it was pulled again, and was that of the image
	Refused string // why a Builder that must isolate commands cannot be had
	Command string // why a command cannot be run
}

func main() {
	r, err := do(context.Background(), os.Args[1], os.Args[2])
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(r)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "embedder:", err)
		os.Exit(1)
	}
}

func do(ctx context.Context, base, destination string) (r report, err error) {
	if r.Refused, err = refusal(ctx); err != nil {
		return r, err
	}
	b, err := builder.Open(ctx, builder.Options{})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	r.Level, _ = b.Isolation()
	img, err := assemble(ctx, b, base, destination)
	if err != nil {
		return r, err
	}
	r.Digest = img.Digest.String()
	pushed, err := b.Push(ctx, destination, destination, builder.PushOptions{})
	if err != nil {
		return r, err
	}
	r.Pushed = pushed.Digest.String()
	if _, err := b.Remove(ctx, destination, builder.RemoveOptions{}); err != nil {
		return r, err
	}
	pulled, err := b.Pull(ctx, destination, builder.PullOptions{})
	if err == nil && pulled.ID != img.ID {
		err = fmt.Errorf("the image %s is %s when it is pulled again", img.ID, pulled.ID)
	}
	r.Pulled = pulled.ID
	if err == nil && r.Level == isolation.NoCommands {
		r.Command, err = command(ctx, b, destination)
	}
	return r, err
}

// refusal is what a Builder is refused with where commands cannot be isolated, as this program wants them.
func refusal(ctx context.Context) (string, error) {
	b, err := builder.Open(ctx, builder.Options{Isolation: isolation.Choice{Least: isolation.Reduced}})
	if err == nil {
		return "", b.Close()
	}
	var host *builder.HostError
	if !errors.As(err, &host) || host.Fix == "" {
		return "", err
	}
	return host.Missing, nil
}

// assemble makes an image of two stages without running anything.
func assemble(ctx context.Context, b *builder.Builder, base, name string) (img builder.Image, err error) {
	then := time.Unix(1700000000, 0).UTC()
	opts := builder.StageOptions{LatestTime: &then, AllTimes: true, WorkdirTime: &then}
	first, err := b.Stage(ctx, base, opts)
	if err != nil {
		return img, err
	}
	defer first.Close()
	for _, source := range []builder.Source{
		builder.Bytes("owned", []byte("owned\n")).Chown("12:34").Chmod("640"),
		builder.Bytes("tool", []byte("tool\n")).Chown("daemon").Chmod("4755"),
	} {
		if _, err := first.Copy(ctx, "/made/", source); err != nil {
			return img, err
		}
	}
	second, err := b.Stage(ctx, base, opts)
	if err != nil {
		return img, err
	}
	defer second.Close()
	if _, err := second.Workdir(ctx, "/srv/app", ""); err != nil {
		return img, err
	}
	if _, err := second.Copy(ctx, "./", first.Path("/made")); err != nil {
		return img, err
	}
	second.Configure("", func(c *builder.Config) { c.User, c.Cmd = "12:34", []string{"cat", "owned"} })
	return second.Commit(ctx, name, builder.CommitOptions{Created: &then})
}

// command is what a command is refused with.
func command(ctx context.Context, b *builder.Builder, image string) (string, error) {
	stage, err := b.Stage(ctx, image, builder.StageOptions{})
	if err != nil {
		return "", err
	}
	defer stage.Close()
	_, err = stage.Run(ctx, builder.Cmd{Args: []string{"/bin/true"}})
	var host *builder.HostError
	if !errors.As(err, &host) {
		return "", fmt.Errorf("a command is not refused as it should be: %w", errors.Join(err, errors.ErrUnsupported))
	}
	return host.Missing, nil
}
