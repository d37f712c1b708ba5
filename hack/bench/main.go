//go:build linux

// Command bench times bin/oakum and other builders at the same work on this
// machine, in turns, and prints each run, the medians and how many times oakum's the
// others are; at the end all as a table in Markdown. All are rootless unless run as root, use the overlay driver
// and stores of their own; buildah runs steps with --isolation oci and runc, BuildKit with runc in a daemon that
// has been started before. hack/bench/run calls it.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
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
	only := flag.String("only", "", "run only the `cases` of these names, as A,B")
	list := flag.Bool("list", false, "only list the cases")
	peers := flag.String("peers", "", "time these `programs` too: buildkit, buildah-new; hack/peers makes them")
	peersIn := flag.String("peers-in", ".cache/peers", "the `directory` that hack/peers has made")
	binary := flag.String("oakum", "bin/oakum", "the `binary` to time")
	beside := flag.String("beside", "", "another `binary` of oakum, to see what a change costs")
	buildah := flag.Bool("buildah", true, "time what Debian has too: buildah, skopeo, runc, crun, cp")
	served := flag.String("registry", "", "only serve a registry with its blobs in this `directory`")
	flag.Parse()
	if *served != "" {
		return serveRegistry(*served)
	}
	if *list {
		for _, c := range new(bench).cases() {
			fmt.Printf("%-12s %s\n", c.name, c.what)
		}
		return nil
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	b, err := newBench(ctx, *binary, *beside)
	if err != nil {
		return err
	}
	defer b.remove()
	if err := b.addPeers(*peers, *peersIn); err != nil {
		return err
	}
	if err := b.describe(os.Stdout); err != nil {
		return err
	}
	chosen, err := choose(b.cases(), *only, *buildah)
	if err != nil {
		return err
	}
	var all []result
	for _, c := range chosen {
		results, err := b.measure(c, *rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		all = append(all, results...)
	}
	table(os.Stdout, all)
	return nil
}

// choose gives the cases of a list of names, or all, and of each what is to be timed.
func choose(cases []benchCase, only string, others bool) ([]benchCase, error) {
	wanted := map[string]bool{}
	for name := range strings.SplitSeq(only, ",") {
		if name != "" {
			wanted[name] = true
		}
	}
	var chosen []benchCase
	for _, c := range cases {
		if only != "" && !wanted[c.name] {
			continue
		}
		delete(wanted, c.name)
		if !others {
			c.contenders = slices.DeleteFunc(c.contenders, func(one contender) bool {
				builder, _, _ := strings.Cut(one.name, " ")
				return !slices.Contains([]string{"oakum", "oakum,", "newer", "BuildKit", "BuildKit,"}, builder)
			})
		}
		if len(c.contenders) > 0 {
			chosen = append(chosen, c)
		}
	}
	if len(wanted) > 0 {
		return nil, fmt.Errorf("no case is called %s: -list lists them", strings.Join(slices.Sorted(maps.Keys(wanted)), ", "))
	}
	return chosen, nil
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

// A result is what a contender took in a case.
type result struct {
	what, name string
	median     time.Duration
	ratio      float64 // of the case's first
	memory     int64   // the most that one process had, in KiB; 0 is unknown
}

// table writes results as it stands in docs/performance.md.
func table(w io.Writer, all []result) {
	fmt.Fprint(w, "\n| | | seconds | times oakum's | MiB |\n|---|---|---|---|---|\n")
	last := ""
	for _, r := range all {
		what := r.what
		if what == last {
			what = ""
		}
		last = r.what
		memory := ""
		if r.memory > 0 {
			memory = fmt.Sprint(r.memory >> 10)
		}
		fmt.Fprintf(w, "| %s | %s | %.3f | %.2f | %s |\n", what, r.name, r.median.Seconds(), r.ratio, memory)
	}
}

// measure runs a case's contenders in turns and prints what they took, and the most memory that one of
// their processes had.
func (b *bench) measure(c benchCase, rounds int) ([]result, error) {
	fmt.Printf("\n%s: %s\n", c.name, c.what)
	times := make([][]time.Duration, len(c.contenders))
	memory := make([]int64, len(c.contenders))
	for round := range rounds + 1 {
		for turn := range c.contenders {
			// Each is first in turn, for what one leaves in memory serves the next.
			i := (turn + round) % len(c.contenders)
			one := c.contenders[i]
			if one.prepare != nil {
				if err := one.prepare(); err != nil {
					return nil, fmt.Errorf("preparing %s: %w", one.name, err)
				}
			}
			b.memory = 0
			start := time.Now()
			if err := one.work(); err != nil {
				return nil, fmt.Errorf("%s: %w", one.name, err)
			}
			took := time.Since(start)
			// The first round warms caches and stores.
			if round > 0 {
				times[i] = append(times[i], took)
				memory[i] = max(memory[i], b.memory)
			}
		}
	}
	base := median(times[0])
	var results []result
	for i, one := range c.contenders {
		runs := make([]string, len(times[i]))
		for j, d := range times[i] {
			runs[j] = fmt.Sprintf("%.3f", d.Seconds())
		}
		m := median(times[i])
		most := ""
		if memory[i] > 0 { // else it is work of this process
			most = fmt.Sprintf("%4d MiB", memory[i]>>10)
		}
		fmt.Printf("  %-28s median %7.3f s  x %6.2f  %8s  (%s)\n", one.name, m.Seconds(), m.Seconds()/base.Seconds(), most, strings.Join(runs, " "))
		results = append(results, result{c.what, one.name, m, m.Seconds() / base.Seconds(), memory[i]})
	}
	return results, nil
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
