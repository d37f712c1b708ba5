// Package recordstest is the suite that every implementation of records.Records passes.
package recordstest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"

	"github.com/oakum-build/oakum/storage/records"
)

// Run runs the suite. open gives an empty place, which is gone after the test.
func Run(t *testing.T, open func(t *testing.T) records.Records) {
	for name, test := range map[string]func(*testing.T, records.Records){
		"GivesBack": givesBack, "NewestFirst": newestFirst, "Bounded": bounded, "AtOnce": atOnce,
		"Refuses": refuses, "Lists": lists, "Cancelled": cancelled,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// Hex is the n-th of any number of keys and contents.
func Hex(n int) string { return fmt.Sprintf("%064x", n) }

// Digest is the n-th of any number of digests.
func Digest(n int) digest.Digest { return digest.Digest("sha256:" + Hex(n)) }

// Record is a record of a key whose result is the layer with the n-th digest on the chain
// below.
func Record(key, content string, below digest.Digest, n int) records.Record {
	return records.Record{
		Key: key, Content: content, Below: below, DiffID: Digest(n), Chain: records.ChainID(below, Digest(n)),
		Size: int64(n), Created: time.Unix(1e9, int64(n)).UTC(),
	}
}

func put(t *testing.T, in records.Records, all ...records.Record) {
	t.Helper()
	for _, r := range all {
		if err := in.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
}

func want(t *testing.T, in records.Records, key string, want ...records.Record) {
	t.Helper()
	got, err := in.Get(t.Context(), key)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("key %.70q: got %+v, want %+v (%v)", key, got, want, err)
	}
}

// givesBack: what was put is found, with all that it says, and what the caller does with it
// changes nothing.
func givesBack(t *testing.T, in records.Records) {
	one, two := Record(Hex(1), "", "", 1), Record(Hex(2), Hex(7), Digest(8), 2)
	nothing := records.Record{Key: Hex(3), Below: Digest(9), Chain: Digest(9), Created: one.Created}
	empty := records.Record{Key: Hex(4), Content: Hex(1)}
	put(t, in, one, two, nothing, empty)
	for range 2 {
		for _, r := range []records.Record{one, two, nothing, empty} {
			want(t, in, r.Key, r)
		}
		got, _ := in.Get(t.Context(), one.Key)
		got[0].Chain = Digest(6)
	}
	for _, key := range []string{Hex(5), "", "..", "/", Hex(1)[1:], Hex(1) + "0", Hex(1) + "/..", strings.ToUpper(strings.Repeat("a", 64)), "\x00", strings.Repeat("/", 64)} {
		want(t, in, key)
	}
}

func newestFirst(t *testing.T, in records.Records) {
	one, two, three := Record(Hex(1), "", "", 1), Record(Hex(1), Hex(7), "", 2), Record(Hex(1), "", "", 3)
	put(t, in, one, two, three)
	want(t, in, Hex(1), three, two, one)
	again := one
	again.Created = again.Created.Add(time.Hour)
	put(t, in, again)
	want(t, in, Hex(1), again, three, two)
	other := Record(Hex(1), Hex(8), "", 1) // the same layer for another content
	put(t, in, other)
	want(t, in, Hex(1), other, again, three, two)
}

func bounded(t *testing.T, in records.Records) {
	const n = 10 * records.MaxResults
	for i := range n {
		put(t, in, Record(Hex(1), Hex(i), "", i))
		if got, err := in.Get(t.Context(), Hex(1)); err != nil || len(got) == 0 || got[0].Content != Hex(i) {
			t.Fatalf("result %d is not the first of %d (%v)", i, len(got), err)
		}
	}
	got, err := in.Get(t.Context(), Hex(1))
	if err != nil || len(got) > records.MaxResults || len(got) < records.MaxResults/2 {
		t.Errorf("%d results are kept (%v)", len(got), err)
	}
	for i, r := range got {
		if r.Content != Hex(n-1-i) {
			t.Errorf("result %d is of content %s", i, r.Content)
		}
	}
}

func atOnce(t *testing.T, in records.Records) {
	var wg sync.WaitGroup
	for i := range records.MaxResults / 2 {
		wg.Go(func() { put(t, in, Record(Hex(1), Hex(i), "", i), Record(Hex(i+2), "", "", i)) })
	}
	wg.Wait()
	if got, err := in.Get(t.Context(), Hex(1)); err != nil || len(got) != records.MaxResults/2 {
		t.Errorf("%d of %d results (%v)", len(got), records.MaxResults/2, err)
	}
	for i := range records.MaxResults / 2 {
		want(t, in, Hex(i+2), Record(Hex(i+2), "", "", i))
	}
}

// refuses: what is no record is not kept.
func refuses(t *testing.T, in records.Records) {
	good := Record(Hex(1), "", Digest(2), 1)
	for name, change := range map[string]func(*records.Record){
		"no key":                 func(r *records.Record) { r.Key = "" },
		"a short key":            func(r *records.Record) { r.Key = r.Key[1:] },
		"a path as key":          func(r *records.Record) { r.Key = "../" + r.Key[3:] },
		"a content with a space": func(r *records.Record) { r.Content = "x y" },
		"a dash as content":      func(r *records.Record) { r.Content = "-" },
		"another chain":          func(r *records.Record) { r.Chain = Digest(3) },
		"no chain":               func(r *records.Record) { r.Chain = "" },
		"another chain below":    func(r *records.Record) { r.Below = Digest(3) },
		"another layer":          func(r *records.Record) { r.DiffID = Digest(3) },
		"no layer":               func(r *records.Record) { r.DiffID = "" },
		"another algorithm":      func(r *records.Record) { r.DiffID, r.Chain = "sha512:x", records.ChainID(r.Below, "sha512:x") },
		"a negative size":        func(r *records.Record) { r.Size = -1 },
		"an absurd size":         func(r *records.Record) { r.Size = 1 << 60 },
		"a time without end":     func(r *records.Record) { r.Created = time.Unix(1<<60, 0) },
	} {
		bad := good
		change(&bad)
		if err := in.Put(t.Context(), bad); !errors.Is(err, records.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		want(t, in, bad.Key)
	}
}

func lists(t *testing.T, in records.Records) {
	var all []records.Record
	for i := range 700 { // more than a directory gives at once
		all = append(all, Record(Hex(i), "", "", i))
	}
	all = append(all, Record(Hex(3), Hex(1), "", 5))
	put(t, in, all...)
	listed := func() (got []records.Record) {
		for r, err := range in.List(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, r)
		}
		return got
	}
	got := listed()
	at := slices.IndexFunc(got, func(r records.Record) bool { return r.Key == Hex(3) })
	if at < 0 || at+1 == len(got) || got[at] != all[700] || got[at+1] != all[3] {
		t.Error("the records of a key are not listed the newest first")
	}
	order := func(a, b records.Record) int { return strings.Compare(a.Key+a.Content, b.Key+b.Content) }
	slices.SortFunc(got, order)
	slices.SortFunc(all, order)
	if !slices.Equal(got, all) {
		t.Errorf("%d records are listed, %d are there", len(got), len(all))
	}
	for range in.List(t.Context()) {
		break // no panic, and no more
	}
}

func cancelled(t *testing.T, in records.Records) {
	put(t, in, Record(Hex(1), "", "", 1))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := in.Get(ctx, Hex(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("Get: %v", err)
	}
	if err := in.Put(ctx, Record(Hex(2), "", "", 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("Put: %v", err)
	}
	want(t, in, Hex(2))
	var last error
	for _, err := range in.List(ctx) {
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("List: %v", last)
	}
}
