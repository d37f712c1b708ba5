// Command bench times bin/oakum and Debian's buildah at the same work on this
// machine, in turns, and prints each run, the medians and how many times oakum's the
// others are. Both are rootless unless run as root, use the overlay driver and stores of their own;
// buildah runs steps with --isolation oci and runc. hack/bench/run calls it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	rounds := flag.Int("rounds", 5, "how often each thing is timed")
	only := flag.String("only", "", "run only the `case` of this name")
	binary := flag.String("oakum", "bin/oakum", "the `binary` to time")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	b, err := newBench(ctx, *binary)
	if err != nil {
		return err
	}
	defer b.remove()
	for _, c := range b.cases() {
		if *only != "" && c.name != *only {
			continue
		}
		if err := b.measure(c, *rounds); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

// A contender is one of the programs that are compared in a case. Its first is what
// the others are divided by.
type contender struct {
	name string
	// prepare is not timed.
	prepare, work func() error
}

type benchCase struct {
	name, what string
	contenders []contender
}

// measure runs a case's contenders in turns and prints what they took.
func (b *bench) measure(c benchCase, rounds int) error {
	fmt.Printf("\n%s: %s\n", c.name, c.what)
	times := make([][]time.Duration, len(c.contenders))
	for round := range rounds + 1 {
		for i, one := range c.contenders {
			if one.prepare != nil {
				if err := one.prepare(); err != nil {
					return fmt.Errorf("preparing %s: %w", one.name, err)
				}
			}
			start := time.Now()
			if err := one.work(); err != nil {
				return fmt.Errorf("%s: %w", one.name, err)
			}
			// The first round warms caches and stores.
			if round > 0 {
				times[i] = append(times[i], time.Since(start))
			}
		}
	}
	base := median(times[0])
	for i, one := range c.contenders {
		runs := make([]string, len(times[i]))
		for j, d := range times[i] {
			runs[j] = fmt.Sprintf("%.3f", d.Seconds())
		}
		m := median(times[i])
		fmt.Printf("  %-28s median %7.3f s  x %6.2f   (%s)\n", one.name, m.Seconds(), m.Seconds()/base.Seconds(), strings.Join(runs, " "))
	}
	return nil
}

func median(times []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// writeSteps writes a Dockerfile of n RUN steps that do next to nothing.
func writeSteps(dir string, n int) error {
	text := "FROM busybox\n"
	for i := range n {
		text += fmt.Sprintf("RUN echo %[1]d > /step-%[1]d\n", i)
	}
	return writeContext(dir, text)
}

func writeContext(dir, dockerfile string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o644)
}
