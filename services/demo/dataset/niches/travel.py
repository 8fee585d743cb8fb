"""Travel: a slow traveller with a camera, a luggage brand, a guesthouse with tours."""

from __future__ import annotations

from services.demo.dataset.banks import lines, words
from services.demo.dataset.niches.world import Group, World

CREATOR = World(
    names=words("Wander with Ilse|Carry-On Only|Slow Ferry|Two Tickets North|Map Crumbs|Tomas Takes Trains"),
    taglines=lines("""
        Slow trips, small towns, honest budgets.
        Trains first, planes if we must.
        I get lost so you don't have to.
    """),
    tags=words("#slowtravel|#hiddengems|#traveltips|#trainjourney|#budgettravel"),
    groups=(
        Group(
            ref="itinerary",
            names=(
                words("Valdemora|Porto Selva|Lake Irsen|Karvala|Monte Arrio|Saltholm|Tiverra"),
                words("weekend itinerary|road trip|food walk|hiking route|5-day itinerary"),
            ),
            aspects=words("drone shot|old town part|budget table|hotel tip|viewpoint|map link|local food section"),
            titles=lines("""
                {name}: everything we did
                {name} on a small budget
                We did the {name} in the rain
                {name}, the route I'd take again
                What to skip on the {name}
                {name} without a car
            """),
        ),
        Group(
            ref="train ride",
            names=(
                words("night|coastal|mountain|14-hour|slow"),
                words("train to Karvala|train to Saltholm|train across Tiverra|ferry to Porto Selva"),
            ),
            aspects=words("cabin tour|window view|dinner scene|ticket price|sunrise part|sleep quality"),
            titles=lines("""
                The {name}: is it worth it?
                I took the {name} alone
                {name} in the cheapest seat
                Packing for the {name}
                {name}: what it cost me
            """),
        ),
        Group(
            ref="packing guide",
            names=(
                words("7 kilo|winter|family|one-bag|carry-on"),
                words("packing list|suitcase tour|travel kit|toiletry guide"),
            ),
            aspects=words("shoe advice|checklist|rolling trick|weight limit part|gear choice|downloadable list"),
            titles=lines("""
                {name} for three weeks
                My {name}, tested on 11 flights
                {name}: what I never used
                The {name} that saved my back
                {name} for chronic overpackers
            """),
        ),
    ),
    praise=lines("""
        Booked the {name} the same evening.
        We followed your {name} last month and it was perfect.
        The {name} made me miss trains and good bread.
        Finally a {ref} that tells you what things cost.
        Watched the {name} with {who}, we're going in spring.
        I grew up near there and you got the {name} exactly right.
        This {ref} feels like a postcard.
        Your calm voice plus that view, I could watch the {name} all night.
        Used your {name} for {span} on the road, flawless.
        You show the boring bits too and that makes the {ref} useful.
        The dog at the station stole the whole {ref}.
    """),
    gripe=lines("""
        We did the {name} because of you and half of it was closed.
        Prices in the {name} are years out of date.
        Please stop geotagging quiet spots in a {ref}, it's overrun now.
        Too much drone, too little information in the {name}.
        The {name} is not doable with kids, whatever you say.
        The map for the {name} asks for an e-mail. No thanks.
        Sponsored hotel again? Hard to trust the {ref} then.
        The {name} sounds easy here, we needed twice the time.
    """),
    ask=lines("""
        How much did the {name} cost in total?
        Is the {name} safe for a solo woman?
        What month did you do the {name}?
        Can you do the {name} with a toddler?
        Which camera did you use for the {name}?
        Do I need to book the {name} in advance?
        Would you do the {name} in winter?
        Where did you leave your luggage during the {name}?
    """),
    note=lines("""
        Watching the {name} from my desk, badge still on.
        My passport expired in March, so I'll stay here.
        We did the {name} the other way round, also fine.
        {who_cap} gets seasick just from the video.
        Adding the {name} to a list of 200 places.
        The {name} is a lot more crowded in August, in my experience.
    """),
)

BRAND = World(
    names=words("Ferrow Luggage|Tern & Tide|Norrback|Waypost Bags|Kilo Seven"),
    taglines=lines("""
        Bags that survive the conveyor belt.
        Travel light. Repair for life.
        Designed around the smallest overhead locker.
    """),
    tags=words("#carryon|#travelgear|#packing|#onebag|#newdrop"),
    groups=(
        Group(
            ref="suitcase",
            names=(words("Tern|Harbor|Summit|Metro"), words("Cabin 38|Check-In 70|Cabin Pro|Family XL")),
            aspects=words("wheel set|handle|zip|lock|weight|lining|shell"),
            titles=lines("""
                Meet the {name}
                {name}: 40 flights later
                The {name} in olive
                We threw the {name} down the stairs
                Repair day: {name}
            """),
        ),
        Group(
            ref="backpack",
            names=(words("Drift|Fjell|Commute|Nomad"), words("22L|30L|40L|Roll-Top")),
            aspects=words("laptop sleeve|shoulder strap|water bottle pocket|fabric|zip|fit|organisation"),
            titles=lines("""
                {name}: one bag, ten days
                Inside the {name}
                {name} in the rain
                New straps for the {name}
                {name}, packed by our team
            """),
        ),
        Group(
            ref="organiser",
            names=(words("Cube|Wash|Tech|Shoe"), words("Set of 3|Pouch|Kit|Wrap")),
            aspects=words("zip|mesh|size|colour|hook|fabric"),
            titles=lines("""
                {name}: order in chaos
                Pack with us: {name}
                The {name} returns in sand
                Small but mighty: {name}
                {name}, now from recycled sails
            """),
        ),
    ),
    praise=lines("""
        The {name} survived three airlines in one week.
        Fits under the seat exactly as promised, love the {name}.
        Took the {name} around for {span}, not a scratch.
        {who_cap} wants a {name} now too.
        A broken clip on my {name} was repaired for free.
        The {name} glides, my old {ref} rattled.
        Best {ref} I've ever travelled with.
        Packed for ten days in the {name} and had room left.
        Every pocket of the {name} makes sense.
    """),
    gripe=lines("""
        A wheel of my {name} broke on the first trip.
        The zip of the {name} split after {span}.
        The {name} is bigger than stated, had to pay at the gate.
        Handle of the {name} wobbles since day one.
        The {name} isn't waterproof, my clothes were soaked.
        Colour of the {name} is very different from the website.
        My {name} arrived with a dent.
        Lifetime repair for the {name}? I've been waiting {span}.
    """),
    ask=lines("""
        Does the {name} fit budget airline limits?
        How heavy is the {name} when empty?
        Is the {name} okay for a 16 inch laptop?
        Can I buy a spare wheel for the {name}?
        When is the {name} back in navy?
        Is the {name} machine washable?
        How long is the warranty on the {name}?
        Does the {name} stand up by itself?
    """),
    note=lines("""
        Still using my grandfather's {ref}.
        The {name} is on my wishlist for the summer.
        Seen three of the {name} at the same gate today.
        My cat is now a resident of the {name}.
        I'd need the {name} in a smaller size.
    """),
)

LOCAL = World(
    names=words("The Lantern House|Pension Alvera|Millbrook Guesthouse|Harbour Steps Inn|Casa Tiverra"),
    taglines=lines("""
        Nine rooms, one garden, very good breakfast.
        A quiet guesthouse two streets from the harbour.
        Family-run since 1998, with walks that start at the door.
    """),
    tags=words("#guesthouse|#weekendaway|#breakfast|#localtours|#harbour"),
    groups=(
        Group(
            ref="stay",
            names=(words("garden|harbour view|family|attic|two-night"), words("room|suite|weekend stay|winter stay")),
            aspects=words("breakfast|bed|view|shower|check-in|location|heating|Wi-Fi"),
            titles=lines("""
                A look inside: {name}
                {name}: free dates in May
                New curtains, same view: {name}
                {name} with late checkout
                What guests say about the {name}
            """),
        ),
        Group(
            ref="tour",
            names=(
                words("sunset|old town|early morning|market|family"),
                words("boat tour|walking tour|bike tour|tasting tour"),
            ),
            aspects=words("guide|pace|meeting point|group size|story telling|price|food stop"),
            titles=lines("""
                {name} runs daily from June
                Photos from the {name}
                {name}: what to bring
                Small groups only: {name}
                Meet the guide of our {name}
                Rain plan for the {name}
            """),
        ),
    ),
    praise=lines("""
        {staff} upgraded us to a better room without asking for anything.
        The {name} was the highlight of our trip.
        Slept like a baby, the {name} is so quiet.
        Breakfast in the garden alone is worth the trip.
        {staff} gave us a hand-drawn map and every tip was gold.
        We brought {who} along and everyone loved the {name}.
        Spotless, friendly, great value for this area.
        The {name} felt like visiting friends.
        We're already planning to come back for the {name}.
    """),
    gripe=lines("""
        The {name} was nothing like the photos.
        Paper-thin walls, we heard the neighbours all night.
        Our {name} was cancelled on the morning itself.
        Nobody was there at check-in for the {name} and the phone was off.
        The {name} smelled of damp.
        Paid extra for the {name} and looked at a wall.
        The {name} was rushed, we saw three places in an hour.
        Deposit for the {name} still isn't back after {span}.
    """),
    ask=lines("""
        Is parking included with the {name}?
        Can we bring our dog to the {name}?
        Is the {name} suitable for a wheelchair?
        What happens to the {name} if it rains?
        Do you still have the {name} free in the first week of June?
        How far is it to the station?
        Is there an early breakfast before the {name}?
    """),
    note=lines("""
        Stayed there years ago when it was still blue.
        Looking at the {name} for autumn, nothing decided.
        {who_cap} lives around the corner from you.
        We arrive on {day}, somewhere around nine in the evening.
        Depends on the ferry times whether the {name} works for us.
    """),
    place="guesthouse",
)
