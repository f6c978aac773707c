package engine

import "math"

// Capabilities is what an engine says about itself.
type Capabilities struct {
	// DeviceName and VendorID are the RDMA device's, "none" and 0 without one.
	DeviceName string
	VendorID   uint32
	// MaxTransferSize is the most bytes one read may land.
	MaxTransferSize uint64
	// MaxSessions and ActiveSessions are the reads that may hold a buffer, and that do.
	MaxSessions    uint64
	ActiveSessions uint64
	// PortGID and PortLID are the RDMA port's, empty and 0 without one.
	PortGID string
	PortLID uint16
	// SupportedAuth is what decides who may read.
	SupportedAuth []string
	// Version is the engine's.
	Version string
	// RealRDMA is whether reads can go through RDMA verbs.
	RealRDMA bool
	// Transports is how bytes can come: of "local", "verbs", "tcp".
	Transports []string
	// PoolBytes and PoolPageSize describe the pool's memory.
	PoolBytes    uint64
	PoolPageSize uint64
	// PoolRegistered is whether the pool is registered with the engine's data rings.
	PoolRegistered bool
	// ProtocolVersion counts the additions to the protocol the engine speaks.
	ProtocolVersion uint32
	// StepsDown is what runs less well than it could on the engine's host, with the remedies.
	StepsDown []string
}

func (c *Capabilities) field(d *decoder, key []byte) (err error) {
	switch string(key) {
	case "device_name":
		c.DeviceName, err = d.d.DecodeString()
	case "vendor_id":
		c.VendorID, err = d.uint32()
	case "max_transfer_size":
		c.MaxTransferSize, err = d.d.DecodeUint64()
	case "max_sessions":
		c.MaxSessions, err = d.d.DecodeUint64()
	case "active_sessions":
		c.ActiveSessions, err = d.d.DecodeUint64()
	case "port_gid":
		c.PortGID, err = d.d.DecodeString()
	case "port_lid":
		var lid uint64
		lid, err = d.upTo(math.MaxUint16)
		c.PortLID = uint16(lid)
	case "supported_auth":
		c.SupportedAuth, err = d.strings()
	case "version":
		c.Version, err = d.d.DecodeString()
	case "real_rdma":
		c.RealRDMA, err = d.bool()
	case "transports":
		c.Transports, err = d.strings()
	case "pool_bytes":
		c.PoolBytes, err = d.d.DecodeUint64()
	case "pool_page_size":
		c.PoolPageSize, err = d.d.DecodeUint64()
	case "pool_registered":
		c.PoolRegistered, err = d.bool()
	case "protocol_version":
		c.ProtocolVersion, err = d.uint32()
	case "steps_down":
		c.StepsDown, err = d.strings()
	default:
		err = d.skip(0)
	}
	return err
}
