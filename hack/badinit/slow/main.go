// Command slow is a program of an embedder that has an init function which prints and takes a
// second. It runs twenty commands in a stage of busybox and prints what they wrote.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/oakum-build/oakum/builder"
	_ "github.com/oakum-build/oakum/hack/badinit/slow/early" // what is slow
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "slow:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	b, err := builder.Open(ctx, builder.Options{Logger: slog.New(slog.NewTextHandler(os.Stdout, nil))})
	if err != nil {
		return err
	}
	defer b.Close()
	stage, err := b.Stage(ctx, "busybox", builder.StageOptions{NoCache: true})
	if err != nil {
		return err
	}
	for i := range 20 {
		cmd := builder.Cmd{Args: []string{"/bin/sh", "-c", fmt.Sprintf("echo step %d | tee /step", i)}, Stdout: os.Stdout, Stderr: os.Stdout}
		if _, err := stage.Run(ctx, cmd); err != nil {
			return err
		}
	}
	return stage.Close()
}
