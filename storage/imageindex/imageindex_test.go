package imageindex

import (
	"testing"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/storage/platform"
)

func TestChoose(t *testing.T) {
	entry := func(id, arch, variant string) Entry {
		return Entry{Descriptor: imgspec.Descriptor{Platform: &imgspec.Platform{OS: "linux", Architecture: arch, Variant: variant}}, ID: id}
	}
	entries := []Entry{entry("1", "arm", "v6"), entry("2", "arm", "v7"), entry("3", "arm64", ""), entry("", "s390x", ""), entry("5", platform.Host().Architecture, "")}
	for want, id := range map[platform.Platform]string{
		{}:                                   "5",
		{OS: "linux", Architecture: "arm64"}: "3",
		{OS: "linux", Architecture: "arm64", Variant: "v8"}: "3",
		{OS: "linux", Architecture: "arm", Variant: "v7"}:   "2",
		{OS: "linux", Architecture: "arm", Variant: "v6"}:   "1",
	} {
		if platform.Host().Architecture == "arm64" && want == (platform.Platform{}) {
			id = "3"
		}
		if got, instead := Choose(entries, want); got != id || instead != "" {
			t.Errorf("%v: got %q, %q, want %q", want, got, instead, id)
		}
	}
	const missing = "the store has it for linux/arm64 and linux/s390x (not in the store), not for linux/s390x"
	if got, instead := Choose(entries[2:4], platform.Platform{OS: "linux", Architecture: "s390x"}); got != "" || instead != missing {
		t.Errorf("got %q, %q", got, instead)
	}
	remote := Entry{Descriptor: imgspec.Descriptor{Platform: &imgspec.Platform{OS: "linux", Architecture: "s390x"}}, From: "docker://r/a@sha256:1"}
	if got, instead := Choose([]Entry{remote}, remote.For()); got != "" || instead != "the store has it for linux/s390x (in docker://r/a@sha256:1), not for linux/s390x" {
		t.Errorf("got %q, %q", got, instead)
	}
	if got := (Entry{}).For(); got != (platform.Platform{}) {
		t.Errorf("got %v", got)
	}
}
