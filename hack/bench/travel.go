//go:build linux

package main

import (
	"errors"
	"os"
	"os/exec"
)

// travel is a rebuild on an empty machine that finds all in a cache in a registry, beside a plain pull of the image.
func (b *bench) travel() benchCase {
	host := os.Getenv("OAKUM_TEST_REGISTRY")
	image, cache := host+"/bench/app:1", "type=registry,ref="+host+"/bench/cache:1"
	context := b.path("multistage")
	made := false
	// fill writes the image and the caches, once, by stores of their own.
	fill := func() error {
		if made {
			return nil
		}
		made = true
		if err := b.command(b.oakum, append(b.store("travel-made"), "build", "-q", "--push", "-t", image, "--cache-to", cache, context)...); err != nil {
			return err
		}
		if b.kit != nil {
			if err := b.kit.build("multistage", "--export-cache", "type=registry,mode=max,ref="+host+"/bench/buildkit:1")(); err != nil {
				return err
			}
		}
		return b.command("buildah", append(b.store("travel-buildah-made"), b.budCached(host, "--cache-to")...)...)
	}
	// empty removes a store, so that all is as on a new machine.
	empty := func(store string) func() error {
		return func() error {
			if err := fill(); err != nil {
				return err
			}
			if err := b.removeStore(store); err != nil {
				return err
			}
			return b.settle()
		}
	}
	c := benchCase{"travel", "examples/multistage-go into an empty store, all found in a cache in a registry", []contender{
		{"oakum pull of the image", empty("travel"), func() error {
			return b.command(b.oakum, append(b.store("travel"), "pull", "-q", image)...)
		}},
		{"oakum build --cache-from", empty("travel"), func() error {
			return b.command(b.oakum, append(b.store("travel"), "build", "-q", "-t", "app", "--cache-from", cache, context)...)
		}},
		{"buildah --cache-from", empty("travel-buildah"), func() error {
			return b.command("buildah", append(b.store("travel-buildah"), b.budCached(host, "--cache-from")...)...)
		}},
	}}
	if b.kit != nil {
		c.contenders = append(c.contenders, contender{"BuildKit --import-cache, emptied before", func() error {
			return errors.Join(fill(), b.kit.empty(), b.settle())
		}, b.kit.build("multistage", "--import-cache", "type=registry,ref="+host+"/bench/buildkit:1")})
	}
	return c
}

// budCached are buildah's arguments for a build with a cache in a registry.
func (b *bench) budCached(host, flag string) []string {
	return []string{"bud", "-q", "--isolation", "oci", "--runtime", "runc", "--network", "host", "--layers", "--tls-verify=false",
		flag, host + "/bench/buildah", "-t", "app", b.path("multistage")}
}

// removeStore removes a store, whose files may belong to subordinate ids.
func (b *bench) removeStore(name string) error {
	dir, run := b.path(name), b.run(name)
	if os.Geteuid() != 0 {
		if _, err := os.Stat(dir); err != nil {
			return nil
		}
		if err := exec.CommandContext(b.ctx, "buildah", "unshare", "rm", "-rf", dir, run).Run(); err != nil {
			return err
		}
	}
	return errors.Join(os.RemoveAll(dir), os.RemoveAll(run))
}
