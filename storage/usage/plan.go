package usage

import (
	"cmp"
	"container/heap"
	"math"
	"strings"
	"time"
)

// Plan is a prune that goes on: it says what is to be removed next. What was last used longest ago comes
// first, but a layer only after all that are on it.
type Plan struct {
	items    map[string]*planned // layers, by their ids
	ready    queue
	takes    func(Item) bool
	before   time.Time // what was used since stays, unless it is zero
	total    int64     // of what may be removed, or might if no build used it
	keeps    int64
	orphaned []*planned // base layers that nothing is on any more
}

type planned struct {
	Item
	on int // layers that are on it
}

// NewPlan makes a plan for all items of a store, of which those of Kind Layer must be complete. free is how much the file system has left.
// It fails with ErrFilter.
func NewPlan(items []Item, o Options, free int64, now time.Time) (*Plan, error) {
	takes, err := Chosen(o.Filter)
	if err != nil {
		return nil, err
	}
	p := &Plan{items: map[string]*planned{}, takes: takes}
	if o.KeepDuration > 0 {
		p.before = now.Add(-o.KeepDuration)
	}
	all := make([]*planned, len(items))
	for i := range items {
		all[i] = &planned{Item: items[i]}
		if all[i].Kind == Layer {
			p.items[all[i].ID] = all[i]
		}
		if all[i].Reclaimable || all[i].InUse && !all[i].Shared {
			p.total += all[i].Size
		}
	}
	for _, l := range p.items {
		if below := p.items[l.Parent]; below != nil {
			below.on++
		}
	}
	if o.Limited() {
		p.keeps = o.keeps(p.total, free)
	} else {
		p.keeps = math.MinInt64 // nothing
	}
	for _, i := range all {
		p.consider(i)
	}
	return p, nil
}

// consider puts an item where Next finds it, if it may be removed now.
func (p *Plan) consider(i *planned) {
	switch {
	case !i.Reclaimable || i.on > 0:
	case i.Base:
		// It goes with the last layer that was on it, and not for its own sake: Removed.
	case p.takes(i.Item) && (p.before.IsZero() || i.LastUsed.Before(p.before)):
		heap.Push(&p.ready, i)
	}
}

// Next gives the item that is to be removed next. Removed must be called when that has been done; else those below it stay.
func (p *Plan) Next() (Item, bool) {
	if n := len(p.orphaned); n > 0 {
		i := p.orphaned[n-1]
		p.orphaned = p.orphaned[:n-1]
		return i.Item, true
	}
	if len(p.ready) == 0 || p.total <= p.keeps {
		return Item{}, false
	}
	return heap.Pop(&p.ready).(*planned).Item, true
}

// Removed says that an item is gone.
func (p *Plan) Removed(i Item) {
	p.total -= i.Size
	if i.Kind != Layer {
		return
	}
	below := p.items[i.Parent]
	if below == nil {
		return
	}
	below.on--
	if below.Base && below.on == 0 && below.Reclaimable {
		p.orphaned = append(p.orphaned, below)
		return
	}
	p.consider(below)
}

// queue is a heap of items, what was last used longest ago first.
type queue []*planned

func (q queue) Len() int { return len(q) }

func (q queue) Less(a, b int) bool {
	return cmp.Or(q[a].LastUsed.Compare(q[b].LastUsed), q[a].Created.Compare(q[b].Created), strings.Compare(q[a].ID, q[b].ID)) < 0
}

func (q queue) Swap(a, b int) { q[a], q[b] = q[b], q[a] }

// Push and Pop are for package heap.
func (q *queue) Push(x any) { *q = append(*q, x.(*planned)) }

// Pop takes the last one.
func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}
