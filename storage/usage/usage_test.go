package usage

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func hoursAgo(n int) time.Time { return now.Add(-time.Duration(n) * time.Hour) }

// store is a store's items: two images' layers, a chain of the cache, one of a base that only the cache keeps, a cache that
// is used, and what is remembered.
func store() []Item {
	return []Item{
		{Kind: Layer, ID: "base", Base: true, Shared: true, Size: 1000, LastUsed: hoursAgo(500)},
		{Kind: Layer, ID: "image", Parent: "base", Shared: true, Size: 100, LastUsed: hoursAgo(400)},
		{Kind: Layer, ID: "a", Parent: "base", Reclaimable: true, Size: 10, LastUsed: hoursAgo(1)},
		{Kind: Layer, ID: "b", Parent: "a", Reclaimable: true, Size: 20, LastUsed: hoursAgo(50)},
		{Kind: Layer, ID: "c", Parent: "a", Reclaimable: true, Size: 30, LastUsed: hoursAgo(30)},
		{Kind: Layer, ID: "orphan", Base: true, Reclaimable: true, Size: 7, LastUsed: hoursAgo(300)},
		{Kind: Layer, ID: "on", Parent: "orphan", Reclaimable: true, Size: 40, LastUsed: hoursAgo(40)},
		{Kind: Layer, ID: "used", Parent: "base", InUse: true, Size: 5, LastUsed: hoursAgo(600)},
		{Kind: CacheMount, ID: "mount", Description: "/root/.cache", Reclaimable: true, Size: 50, LastUsed: hoursAgo(45)},
		{Kind: Records, ID: "records", Size: 3, LastUsed: hoursAgo(0)},
		{Kind: Records, ID: "files", Reclaimable: true, Size: 2, LastUsed: hoursAgo(2)},
	}
}

// plan gives the ids in the order in which they are to go. kept are those that somebody turns out to use.
func plan(t *testing.T, o Options, free int64, kept ...string) string {
	t.Helper()
	p, err := NewPlan(store(), o, free, now)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for {
		i, more := p.Next()
		if !more {
			return strings.Join(ids, " ")
		}
		if slices.Contains(kept, i.ID) {
			continue
		}
		ids = append(ids, i.ID)
		p.Removed(i)
	}
}

func TestPlan(t *testing.T) {
	t.Parallel()
	const all = "b mount on orphan c files a" // 164 bytes with what is in use
	for name, test := range map[string]struct {
		o    Options
		free int64
		kept []string
		want string
	}{
		"all":                             {want: all},
		"one stays, and what is below":    {kept: []string{"c"}, want: "b mount on orphan files"},
		"a base stays with what is on it": {kept: []string{"on"}, want: "b mount c files a"},
		"old ones":                        {o: Options{KeepDuration: 42 * time.Hour}, want: "b mount"},
		"at most":                         {o: Options{MaxUsedSpace: 100}, want: "b mount"},
		"exactly":                         {o: Options{MaxUsedSpace: 94}, want: "b mount"},
		"a little less":                   {o: Options{MaxUsedSpace: 93}, want: "b mount on orphan"},
		"the rest of one that stays":      {o: Options{MaxUsedSpace: 100}, kept: []string{"mount"}, want: "b on orphan"},
		"all there is":                    {o: Options{MaxUsedSpace: 1}, want: all},
		"reserved":                        {o: Options{ReservedSpace: 94}, want: "b mount"},
		"at most, and reserved":           {o: Options{MaxUsedSpace: 1, ReservedSpace: 100}, want: "b mount"},
		"more reserved than at most":      {o: Options{MaxUsedSpace: 50, ReservedSpace: 500}},
		"enough free":                     {o: Options{MinFreeSpace: 10}, free: 10},
		"some more free":                  {o: Options{MinFreeSpace: 80}, free: 10, want: "b mount"},
		"free and at most":                {o: Options{MinFreeSpace: 20, MaxUsedSpace: 100}, free: 10, want: "b mount"},
		"old ones, at most":               {o: Options{KeepDuration: 48 * time.Hour, MaxUsedSpace: 10}, want: "b"},
		"caches":                          {o: Options{Filter: parse(t, "type=exec.cachemount")}, want: "mount"},
		"not caches":                      {o: Options{Filter: parse(t, "mutable=false", "type!=internal")}, want: "b on orphan c a"},
		"by age":                          {o: Options{Filter: parse(t, "until=42h")}, want: "b mount"},
		"used":                            {o: Options{Filter: parse(t, "inuse")}},
		"what only something else is on":  {o: Options{Filter: parse(t, "id=a")}},
		"several names":                   {o: Options{Filter: parse(t, "id~=^(b|c|a)$")}, want: "b c a"},
	} {
		if got := plan(t, test.o, test.free, test.kept...); got != test.want {
			t.Errorf("%s: %q, not %q", name, got, test.want)
		}
	}
}

func parse(t *testing.T, texts ...string) (list []Filter) {
	t.Helper()
	for _, text := range texts {
		f, err := ParseFilter(text, now)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, f)
	}
	return list
}

func TestFilters(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"type=layer":                 "base image a b c orphan on used",
		"type=regular":               "base image a b c orphan on used",
		"type==cachemount":           "mount",
		"type!=regular":              "mount records files",
		"type=source.git.checkout":   "",
		"shared":                     "base image",
		"private=false":              "base image",
		"immutable=false":            "mount",
		"inuse=true":                 "used",
		"reclaimable!=true":          "base image used records",
		"parent=base":                "image a used",
		"parents=base":               "image a used",
		"description=/root/.cache":   "mount",
		"description~=^/root":        "mount",
		"id=rec":                     "records",
		"until=100h":                 "base image orphan used",
		"unused-for=100h":            "base image orphan used",
		"until=2026-04-20":           "base image orphan used",
		"until=1776628800":           "base image orphan used",
		"until=2026-04-20T00:00:00Z": "base image orphan used",
	} {
		takes, err := Chosen(parse(t, text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var ids []string
		for _, i := range store() {
			if takes(i) {
				ids = append(ids, i.ID)
			}
		}
		if got := strings.Join(ids, " "); got != want {
			t.Errorf("%s takes %q, not %q", text, got, want)
		}
	}
	for _, bad := range []string{"", "x", "x=1", "=1", "type=x", "type", "id=", "id", "inuse=x", "until", "until=x", "until!=1h", "description~=(", "type=layer,inuse"} {
		if f, err := ParseFilter(bad, now); !errors.Is(err, ErrFilter) && bad != "id" {
			t.Errorf("%q is %+v, %v", bad, f, err)
		}
	}
	for _, bad := range []Filter{{}, {"type", "<", "layer"}, {"until", "=", "1h"}, {"until", "!=", now.Format(time.RFC3339Nano)}} {
		if _, err := Chosen([]Filter{bad}); !errors.Is(err, ErrFilter) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
