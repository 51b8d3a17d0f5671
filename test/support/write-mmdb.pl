#!/usr/bin/perl
# Writes the MaxMind database that the JSON on standard input describes to standard output.
use strict;
use warnings;
use JSON::PP;
use MaxMind::DB::Writer::Tree;

my %NUMBERS = (autonomous_system_number => 'uint32', geoname_id => 'uint32', latitude => 'double', is_in_european_union => 'boolean');

my $wanted = decode_json(do { local $/; <STDIN> });
my $tree = MaxMind::DB::Writer::Tree->new(
    ip_version               => $wanted->{ipVersion},
    record_size              => $wanted->{recordSize},
    database_type            => $wanted->{type},
    languages                => ['en'],
    description              => { en => 'made by a test' },
    remove_reserved_networks => 0,
    map_key_type_callback    => sub { ref $_[1] ? 'map' : $NUMBERS{$_[0]} || 'utf8_string' },
);
$tree->insert_network($_->[0], $_->[1]) for @{$wanted->{networks}};
binmode STDOUT;
$tree->write_tree(\*STDOUT);
