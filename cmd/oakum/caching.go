package main

import (
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/dockerfile"
)

func cachingFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "no-cache-filter", Usage: "as --no-cache, but for the stages `NAME,...` alone; repeatable"},
		&cli.BoolFlag{Name: "no-cache", Usage: "run every step, even when its result is in the layer cache"},
		&cli.StringFlag{Name: "cache-ttl", Usage: "run steps again whose result in the layer cache is older than `DURATION`, such as 24h; 0 is --no-cache"},
	}
}

// readCaching reads the cachingFlags, and whether what is found is explained. To buildah --cache-ttl with 0 means that nothing is taken from the cache.
func readCaching(c *cli.Context, o *dockerfile.Steps) error {
	o.NoCache, o.Explain = c.Bool("no-cache"), c.Bool("explain")
	for _, names := range values(c, "no-cache-filter") {
		o.NoCacheStages = append(o.NoCacheStages, strings.Split(names, ",")...)
	}
	text := c.String("cache-ttl")
	if text == "" {
		return nil
	}
	ttl, err := time.ParseDuration(text)
	if err != nil || ttl < 0 {
		return usagef("--cache-ttl %q is no time such as 24h", text)
	}
	o.CacheTTL = ttl
	o.NoCache = o.NoCache || ttl == 0
	return nil
}
