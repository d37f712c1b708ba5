package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/usage"
)

// configFile is read below $XDG_CONFIG_HOME, or ~/.config. It need not be there.
const configFile = "oakum/config.toml"

// pruneSeldom is how often the rules of the configuration are applied where it does not say. A build that comes
// sooner pays for one look at a file.
const pruneSeldom = 10 * time.Minute

// config is what the configuration file says.
type config struct {
	// PruneEvery is how often the rules are applied.
	PruneEvery string `toml:"prune-every"`
	// Prune is done at the end of builds, one rule after the other.
	Prune []pruneRule `toml:"prune"`
}

// readPolicy reads what is to be removed at the end of a build.
func readPolicy() ([]usage.Options, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return nil, nil // there is no home, and so nothing in it
	}
	path := filepath.Join(dir, configFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	policy, err := parsePolicy(string(text))
	if err != nil {
		return nil, usagef("%s: %v", path, err)
	}
	return policy, nil
}

func parsePolicy(text string) ([]usage.Options, error) {
	var c config
	read, err := toml.Decode(text, &c)
	if err != nil {
		return nil, err
	}
	if unknown := read.Undecoded(); len(unknown) > 0 {
		return nil, fmt.Errorf("%s is not known; there are prune-every, and [[prune]] with filter, all, keep-duration, max-used-space, min-free-space and reserved-space", unknown[0])
	}
	every := pruneSeldom
	if c.PruneEvery != "" {
		if every, err = time.ParseDuration(c.PruneEvery); err != nil || every <= 0 {
			return nil, fmt.Errorf("prune-every %q is no time such as 10m", c.PruneEvery)
		}
	}
	var policy []usage.Options
	for i, rule := range c.Prune {
		o, err := rule.options("")
		if err != nil {
			return nil, fmt.Errorf("the rule %d of prune: %w", i+1, err)
		}
		if !o.Limited() && o.KeepDuration == 0 {
			return nil, fmt.Errorf("the rule %d of prune would empty the cache after each build: it needs keep-duration, max-used-space, min-free-space or reserved-space, and more than 0", i+1)
		}
		policy = append(policy, o)
	}
	if len(policy) > 0 {
		policy[0].Every = every // the others are applied when the first one is
	}
	return policy, nil
}

// applyPolicy removes what a policy says. When that cannot be done, the build is none the worse for it.
func applyPolicy(c *cli.Context, b *builder.Builder, policy []usage.Options, p *progress) {
	if c.Context.Err() != nil {
		return
	}
	if err := applyRules(c.Context, b, policy, p); err != nil && c.Context.Err() == nil {
		p.tell(func() { p.warn(fmt.Sprintf("removing from the cache what the configuration says: %v", err), 0) })
	}
}

func applyRules(ctx context.Context, b *builder.Builder, policy []usage.Options, p *progress) error {
	for _, rule := range policy {
		removed, err := b.Prune(ctx, rule)
		if err != nil || removed.Skipped {
			return err
		}
		if len(removed.Items) > 0 && !p.quiet {
			p.tell(func() { p.say("removed from the cache: %s", prunedText(removed.Layers, removed.Caches, removed.Size)) })
		}
	}
	return nil
}
