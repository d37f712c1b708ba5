package records

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"sync"
)

// Memory keeps records for as long as the process lives. The zero value is empty.
type Memory struct {
	mu     sync.Mutex
	oldest map[string][]Record // by key, the oldest first
}

// Get gives the records of a key.
func (m *Memory) Get(ctx context.Context, key string) ([]Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return newestFirst(m.oldest[key]), nil
}

// Put adds a record.
func (m *Memory) Put(ctx context.Context, r Record) error {
	if err := errors.Join(ctx.Err(), r.Check()); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.oldest == nil {
		m.oldest = map[string][]Record{}
	}
	of := m.oldest[r.Key]
	if len(of) >= MaxResults {
		of = slices.Clone(of[len(of)-MaxResults/2:])
	}
	m.oldest[r.Key] = append(of, r)
	return nil
}

// List gives all records.
func (m *Memory) List(ctx context.Context) iter.Seq2[Record, error] {
	m.mu.Lock()
	keys := slices.Collect(maps.Keys(m.oldest))
	m.mu.Unlock()
	return listed(ctx, m, slices.Values(keys))
}

// listed lists the records of keys.
func listed(ctx context.Context, from Records, keys iter.Seq[string]) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for key := range keys {
			if err := ctx.Err(); err != nil {
				yield(Record{}, err)
				return
			}
			of, err := from.Get(ctx, key)
			if err != nil && !yield(Record{}, err) {
				return
			}
			for _, r := range of {
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}
