package vhost

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"

	"golang.org/x/sys/unix"
)

// Features of the device (VIRTIO_F_VERSION_1, VHOST_USER_F_PROTOCOL_FEATURES)
// and of the protocol (MQ, REPLY_ACK, CONFIG), all that are offered.
const (
	featureVersion1 = 1 << 32
	featureProtocol = 1 << 30
	protocolMQ      = 1 << 0
	protocolAck     = 1 << 3
	protocolConfig  = 1 << 9

	features         = featureVersion1 | featureProtocol
	protocolFeatures = protocolMQ | protocolAck | protocolConfig
)

// session is what one front end has set up.
type session struct {
	device   Device
	spec     Spec
	log      *slog.Logger
	features uint64
	protocol uint64
	memory   *memory
	queues   []*Queue
	life     *life
}

// life is one call of Device.Run.
type life struct {
	cancel context.CancelFunc
	done   chan struct{}
}

func newSession(d Device, log *slog.Logger) *session {
	s := &session{device: d, spec: d.Spec(), log: log, memory: &memory{}}
	for range s.spec.Queues {
		s.queues = append(s.queues, newQueue())
	}
	return s
}

// close ends the life and gives everything back.
func (s *session) close() {
	s.end()
	for _, q := range s.queues {
		q.close()
	}
	s.memory.close()
}

// acknowledges says whether the front end may ask for acknowledgements.
func (s *session) acknowledges() bool { return s.protocol&protocolAck != 0 }

// handle does what a request says. The answer is nil when the protocol has none.
func (s *session) handle(ctx context.Context, m *message) ([]byte, error) {
	switch m.request {
	case getFeatures:
		return word(features), nil
	case setFeatures:
		return nil, negotiate(&s.features, m, features)
	case getProtocolFeatures:
		return word(protocolFeatures), nil
	case setProtocolFeatures:
		return nil, negotiate(&s.protocol, m, protocolFeatures)
	case getQueueNum:
		return word(uint64(s.spec.Queues)), nil
	case getConfig:
		return s.configuration(m)
	case setOwner, setVringErr, setConfig:
		return nil, nil
	case resetOwner:
		s.end()
		return nil, nil
	case setVringCall:
		return nil, s.call(m)
	case setVringEnable:
		return nil, s.enable(ctx, m)
	case setMemTable, setVringNum, setVringAddr, setVringBase, setVringKick:
		s.end()
		if err := s.change(m); err != nil {
			return nil, err
		}
		return nil, s.begin(ctx)
	case getVringBase:
		s.end()
		return s.stop(m)
	}
	return nil, fmt.Errorf("%w: request %d isn't known", ErrFrontEnd, m.request)
}

// negotiate takes the features that the front end chose of what was offered.
func negotiate(chosen *uint64, m *message, offered uint64) error {
	v, err := m.number()
	if err == nil && v&^offered != 0 {
		err = fmt.Errorf("%w: features %#x weren't offered", ErrFrontEnd, v&^offered)
	}
	if err == nil {
		*chosen = v
	}
	return err
}

// configuration answers a part of the configuration space: an offset, a size
// and flags, 32 bits each, and the bytes.
func (s *session) configuration(m *message) ([]byte, error) {
	const head = 12
	if len(m.payload) < head {
		return nil, m.want(head)
	}
	offset, size := binary.LittleEndian.Uint32(m.payload), binary.LittleEndian.Uint32(m.payload[4:])
	if size > maxConfig || offset > maxConfig-size || int(size) != len(m.payload)-head {
		return nil, fmt.Errorf("%w: %d bytes of configuration at %d", ErrFrontEnd, size, offset)
	}
	answer := append([]byte(nil), m.payload...)
	clear(answer[head:])
	if int(offset) < len(s.spec.Config) {
		copy(answer[head:], s.spec.Config[offset:])
	}
	return answer, nil
}

// call takes the file for interrupts, while the device lives.
func (s *session) call(m *message) error {
	index, fd, err := m.file()
	if err != nil {
		return err
	}
	q, err := s.queue(index)
	if err == nil && fd >= 0 {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		if fd >= 0 {
			unix.Close(fd)
		}
		return err
	}
	q.call.set(fd)
	return nil
}

// change takes what a life can't bear.
func (s *session) change(m *message) error {
	if m.request == setMemTable {
		regions, err := m.regions()
		if err != nil {
			return err
		}
		mapped, err := mapMemory(regions, m.files)
		if err != nil {
			return err
		}
		s.memory.close()
		s.memory = mapped
		return nil
	}
	if m.request == setVringAddr {
		return s.place(m)
	}
	if m.request == setVringKick {
		return s.kick(m)
	}
	index, value, err := m.pair()
	if err != nil {
		return err
	}
	q, err := s.queue(index)
	if err != nil {
		return err
	}
	switch m.request {
	case setVringNum:
		if value == 0 || value > maxSize || value&(value-1) != 0 {
			return fmt.Errorf("%w: queue of %d descriptors", ErrFrontEnd, value)
		}
		q.setup.size = uint16(value)
	case setVringBase:
		if value > 0xffff {
			return fmt.Errorf("%w: base %d", ErrFrontEnd, value)
		}
		q.setup.base = uint16(value)
	}
	return nil
}

// enable enables or disables a queue. What doesn't change ends no life.
func (s *session) enable(ctx context.Context, m *message) error {
	index, value, err := m.pair()
	if err != nil {
		return err
	}
	q, err := s.queue(index)
	if err != nil {
		return err
	}
	if value > 1 {
		return fmt.Errorf("%w: enable %d", ErrFrontEnd, value)
	}
	if q.setup.enabled == (value == 1) {
		return nil
	}
	s.end()
	q.setup.enabled = value == 1
	return s.begin(ctx)
}

// place takes the addresses of a queue: index, flags, descriptors, used ring,
// available ring, log.
func (s *session) place(m *message) error {
	if err := m.want(40); err != nil {
		return err
	}
	q, err := s.queue(binary.LittleEndian.Uint32(m.payload))
	if err != nil {
		return err
	}
	if flags := binary.LittleEndian.Uint32(m.payload[4:]); flags != 0 {
		return fmt.Errorf("%w: flags %#x of a queue", ErrFrontEnd, flags)
	}
	q.setup.at = &addresses{
		table: binary.LittleEndian.Uint64(m.payload[8:]),
		used:  binary.LittleEndian.Uint64(m.payload[16:]),
		avail: binary.LittleEndian.Uint64(m.payload[24:]),
	}
	return nil
}

// kick takes the file for kicks. Without the protocol's features this enables
// the queue too.
func (s *session) kick(m *message) error {
	index, fd, err := m.file()
	if err != nil {
		return err
	}
	q, err := s.queue(index)
	if err != nil || fd < 0 {
		if fd >= 0 {
			unix.Close(fd)
		}
		if err == nil {
			err = fmt.Errorf("%w: a queue to be polled", ErrFrontEnd)
		}
		return err
	}
	q.listen(fd)
	if s.features&featureProtocol == 0 {
		q.setup.enabled = true
	}
	return nil
}

// stop stops a queue and answers how many of its chains were given back.
func (s *session) stop(m *message) ([]byte, error) {
	index, _, err := m.pair()
	if err != nil {
		return nil, err
	}
	q, err := s.queue(index)
	if err != nil {
		return nil, err
	}
	q.listen(-1)
	answer := binary.LittleEndian.AppendUint32(nil, index)
	return binary.LittleEndian.AppendUint32(answer, uint32(q.setup.base)), nil
}

func (s *session) queue(index uint32) (*Queue, error) {
	if uint64(index) >= uint64(len(s.queues)) {
		return nil, fmt.Errorf("%w: queue %d of %d", ErrFrontEnd, index, len(s.queues))
	}
	return s.queues[index], nil
}

// begin lets the device live when all its queues are ready.
func (s *session) begin(ctx context.Context) error {
	for _, q := range s.queues {
		if !q.ready() {
			return nil
		}
	}
	for i, q := range s.queues {
		if err := q.begin(s.memory); err != nil {
			for _, q := range s.queues[:i] {
				q.end()
			}
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	s.life = &life{cancel, make(chan struct{})}
	go func(done chan<- struct{}) {
		defer close(done)
		if err := s.device.Run(ctx, s.queues); err != nil && ctx.Err() == nil {
			s.log.LogAttrs(ctx, slog.LevelWarn, "vhost: device stopped until its driver resets it", slog.String("error", err.Error()))
		}
	}(s.life.done)
	return nil
}

// end ends the life and waits for its end.
func (s *session) end() {
	if s.life == nil {
		return
	}
	s.life.cancel()
	<-s.life.done
	s.life = nil
	for _, q := range s.queues {
		q.end()
	}
}
